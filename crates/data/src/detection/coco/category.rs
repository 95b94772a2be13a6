//! One entry of `categories`.

use longtail_types::FrequencyGroup;
use serde::de::{IgnoredAny, MapAccess};

use super::entries::Entry;
use super::value::{Checked, Expect, Key, Text, Unsigned, Welcome, needed, optional};
use crate::detection::ProblemKind;
use crate::detection::raw::{RawCategory, RawSet};

pub(super) struct CategoryEntry;

#[derive(Clone, Copy)]
enum Field {
    Id,
    Name,
    Frequency,
}

const FIELDS: &[(&str, Field)] =
    &[("id", Field::Id), ("name", Field::Name), ("frequency", Field::Frequency)];

impl Entry for CategoryEntry {
    const LIST: &'static str = "categories";
    const PROBLEM: ProblemKind = ProblemKind::CategoryField;

    fn read<'de, A: MapAccess<'de>>(
        raw: &mut RawSet,
        place: usize,
        mut fields: A,
    ) -> Result<(), A::Error> {
        let (mut id, mut name, mut frequency) = (None, None, None);
        while let Some(field) = fields.next_key_seed(Key(FIELDS))? {
            match field {
                Some(Field::Id) => id = Some(fields.next_value_seed(Expect(Unsigned))?),
                Some(Field::Name) => name = Some(fields.next_value_seed(Expect(Text))?),
                Some(Field::Frequency) => {
                    frequency = Some(fields.next_value_seed(Expect(Frequency))?);
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let known_id = id.as_ref().and_then(|id: &Checked<u64>| id.as_ref().ok()).copied();
        let mut push =
            |kind, message| raw.push_entry_problem(kind, Self::LIST, place, known_id, message);
        let frequency = optional("frequency", "\"r\", \"c\" or \"f\"", frequency);
        let frequency = frequency.unwrap_or_else(|message| {
            push(ProblemKind::LvisField, message);
            None
        });
        let id = needed("id", "a whole number of at least 0", id);
        match id.and_then(|id| Ok((id, needed("name", "a text", name)?))) {
            Ok((id, name)) => raw.categories.push(RawCategory { place, id, name, frequency }),
            Err(message) => push(ProblemKind::CategoryField, message),
        }
        Ok(())
    }
}

/// LVIS's flag.
struct Frequency;

impl Welcome for Frequency {
    type Value = FrequencyGroup;

    fn text(self, value: &str) -> Option<FrequencyGroup> {
        match value {
            "r" => Some(FrequencyGroup::Rare),
            "c" => Some(FrequencyGroup::Common),
            "f" => Some(FrequencyGroup::Frequent),
            _ => None,
        }
    }
}
