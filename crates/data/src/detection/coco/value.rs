//! JSON values of an expected type; another type is reported, not an end of reading.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What stands in the place of an expected value, in words.
pub(super) type Found = String;

/// The value, or what stands there instead.
pub(super) type Checked<T> = Result<T, Found>;

/// The types of a value that are welcome, by what they are turned into.
pub(super) trait Welcome: Sized {
    type Value;

    fn integer(self, value: u64) -> Option<Self::Value> {
        self.number(value as f64)
    }

    fn number(self, _value: f64) -> Option<Self::Value> {
        None
    }

    fn text(self, _value: &str) -> Option<Self::Value> {
        None
    }

    fn truth(self, _value: bool) -> Option<Self::Value> {
        None
    }

    fn null(self) -> Option<Self::Value> {
        None
    }

    fn list<'de, A: SeqAccess<'de>>(self, items: A) -> Result<Checked<Self::Value>, A::Error> {
        drain(items)?;
        Ok(Err("a list".to_owned()))
    }

    fn object<'de, A: MapAccess<'de>>(self, fields: A) -> Result<Checked<Self::Value>, A::Error> {
        drain_object(fields)?;
        Ok(Err("an object".to_owned()))
    }
}

/// Reads over the rest of a list.
pub(super) fn drain<'de, A: SeqAccess<'de>>(mut items: A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_object<'de, A: MapAccess<'de>>(mut fields: A) -> Result<(), A::Error> {
    while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads a value of any type and asks whether it is welcome.
pub(super) struct Expect<W>(pub(super) W);

impl<'de, W: Welcome> DeserializeSeed<'de> for Expect<W> {
    type Value = Checked<W::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: Welcome> Visitor<'de> for Expect<W> {
    type Value = Checked<W::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.0.integer(value).ok_or_else(|| value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.0.number(value as f64).ok_or_else(|| value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.0.number(value).ok_or_else(|| value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.0.text(value).ok_or_else(|| quoted(value)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.0.truth(value).ok_or_else(|| value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.0.null().ok_or_else(|| "null".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.0.list(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
        self.0.object(fields)
    }
}

/// The beginning of a text, in quotes.
fn quoted(text: &str) -> Found {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
}

/// An id or a size: an integer of at least 0, also written as 3.0.
pub(super) struct Unsigned;

impl Welcome for Unsigned {
    type Value = u64;

    fn integer(self, value: u64) -> Option<u64> {
        Some(value)
    }

    fn number(self, value: f64) -> Option<u64> {
        let is_whole = value >= 0.0 && value < 2_f64.powi(53) && value.fract() == 0.0;
        is_whole.then_some(value as u64)
    }
}

/// A number.
pub(super) struct Number;

impl Welcome for Number {
    type Value = f64;

    fn number(self, value: f64) -> Option<f64> {
        Some(value)
    }
}

/// A flag: 0, 1, false or true.
pub(super) struct Flag;

impl Welcome for Flag {
    type Value = bool;

    fn number(self, value: f64) -> Option<bool> {
        [0.0, 1.0].contains(&value).then_some(value == 1.0)
    }

    fn truth(self, value: bool) -> Option<bool> {
        Some(value)
    }
}

/// A text.
pub(super) struct Text;

impl Welcome for Text {
    type Value = String;

    fn text(self, value: &str) -> Option<String> {
        Some(value.to_owned())
    }
}

/// `[x, y, width, height]`, or any other four numbers.
pub(super) struct FourNumbers;

impl Welcome for FourNumbers {
    type Value = [f64; 4];

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<[f64; 4]>, A::Error> {
        let (mut numbers, mut count, mut wrong) = ([0.0; 4], 0, None);
        while let Some(number) = items.next_element_seed(Expect(Number))? {
            match (number, numbers.get_mut(count)) {
                (Ok(number), Some(place)) => *place = number,
                (Err(found), _) => wrong = wrong.or(Some(found)),
                (Ok(_), None) => {}
            }
            count += 1;
        }
        Ok(match wrong {
            Some(found) => Err(format!("a list with {found}")),
            None if count != 4 => Err(format!("a list of {count}")),
            None => Ok(numbers),
        })
    }
}

/// A list of ids, added to `ids` with the image that they belong to.
pub(super) struct Ids<'a> {
    pub(super) image: u32,
    pub(super) ids: &'a mut Vec<(u32, u64)>,
}

impl Welcome for Ids<'_> {
    type Value = ();

    fn list<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked<()>, A::Error> {
        let start = self.ids.len();
        while let Some(id) = items.next_element_seed(Expect(Unsigned))? {
            match id {
                Ok(id) => self.ids.push((self.image, id)),
                Err(found) => {
                    self.ids.truncate(start);
                    drain(items)?;
                    return Ok(Err(format!("a list with {found}")));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The name of a field, as one of a table of known names; `None` for any other.
pub(super) struct Key<K: 'static>(pub(super) &'static [(&'static str, K)]);

impl<'de, K: Copy> DeserializeSeed<'de> for Key<K> {
    type Value = Option<K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<K: Copy> Visitor<'_> for Key<K> {
    type Value = Option<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(known, _)| *known == name).map(|(_, key)| *key))
    }
}

/// A field that must be there.
pub(super) fn needed<T>(name: &str, expected: &str, value: Option<Checked<T>>) -> Checked<T> {
    optional(name, expected, value)?.ok_or_else(|| format!("{name} is missing"))
}

/// A field that may be absent.
pub(super) fn optional<T>(
    name: &str,
    expected: &str,
    value: Option<Checked<T>>,
) -> Checked<Option<T>> {
    let wrong = |found| format!("{name} must be {expected}, got {found}");
    value.transpose().map_err(wrong)
}
