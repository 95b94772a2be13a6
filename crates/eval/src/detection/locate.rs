//! Which entry of a JSON list is the bad one.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// How much of a bad entry is shown.
const MAX_SHOWN: usize = 160;

/// The first entry of a JSON list that is no `T`, and why in words that quote it. `None` if the text
/// is no list, or no entry by itself is to blame (a comma missing between two).
pub(crate) fn bad_entry<T: DeserializeOwned>(text: &[u8]) -> Option<(usize, String)> {
    entries(text)?.into_iter().enumerate().find_map(|(index, entry)| {
        let error = serde_json::from_slice::<T>(entry).err()?;
        Some((index, describe(entry, &error)))
    })
}

/// The text of a field of a JSON object that is a list: `None` if there is none.
pub(crate) fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let text = text.trim_ascii();
    let mut rest = text.strip_prefix(b"{")?;
    loop {
        rest = rest.trim_ascii_start();
        let end = value_end(rest);
        let key = rest.get(..end)?;
        rest = rest[end..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let end = value_end(rest);
        if key == format!("\"{name}\"").as_bytes() {
            return Some(&rest[..end]);
        }
        rest = rest[end..].trim_ascii_start().strip_prefix(b",")?;
    }
}

fn describe(entry: &[u8], error: &serde_json::Error) -> String {
    let shown = shorten(entry);
    match not_finite(entry) {
        Some((key, value)) => format!("`{key}` is {value}, not a finite number: {shown}"),
        None => {
            let error = error.to_string();
            let reason = error.split(" at line ").next().unwrap_or_default();
            format!("{reason}: {shown}")
        }
    }
}

/// The beginning of an entry.
pub(crate) fn shorten(entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A `NaN` or `Infinity` outside of strings, as Python writes them, and the name before it.
fn not_finite(entry: &[u8]) -> Option<(String, &'static str)> {
    let (mut at, mut key) = (0, String::new());
    while at < entry.len() {
        match entry[at] {
            b'"' => {
                let end = at + value_end(&entry[at..]);
                key = String::from_utf8_lossy(&entry[at..end]).trim_matches('"').to_string();
                at = end;
                continue;
            }
            b'N' if entry[at..].starts_with(b"NaN") => return Some((key, "NaN")),
            b'I' if entry[at..].starts_with(b"Infinity") => return Some((key, "infinite")),
            _ => at += 1,
        }
    }
    None
}

/// The entries of a JSON list, cut at its commas; the last may be cut off.
fn entries(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = text.trim_ascii().strip_prefix(b"[")?;
    let mut entries = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() || rest.starts_with(b"]") {
            return Some(entries);
        }
        let end = value_end(rest);
        if end == 0 {
            return Some(entries);
        }
        entries.push(rest[..end].trim_ascii_end());
        rest = rest[end..].trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
}

/// Length of the JSON value that begins here: up to a comma, colon or bracket that is not its own.
fn value_end(text: &[u8]) -> usize {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' if depth == 0 => return at + 1,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return at,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// What kind of value a JSON text is, in words.
pub(crate) fn kind(text: &[u8]) -> &'static str {
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(_)) => "an object",
        Ok(Value::Array(_)) => "a list",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_) | Value::Null) => "a constant",
        Err(_) => "no JSON",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Pair {
        #[expect(dead_code, reason = "only its type is read")]
        id: u64,
    }

    #[test]
    fn the_bad_entry_is_named_and_shown() {
        let found = |text: &str| bad_entry::<Pair>(text.as_bytes());
        assert_eq!(found(r#"[{"id": 1}, {"id": 2, "x": "]},{"}]"#), None);
        let (index, message) = found(r#"[{"id": 1}, {"id": "a\"]"}]"#).unwrap();
        assert_eq!(index, 1);
        assert_eq!(message, r#"invalid type: string "a\"]", expected u64: {"id": "a\"]"}"#);
        let (index, message) = found(r#"[{"id": 1}, {"s": "NaN", "id": NaN}]"#).unwrap();
        assert_eq!((index, message.starts_with("`id` is NaN, not a finite")), (1, true));
        let (index, message) = found(r#"[{"id": 1},{"id""#).unwrap();
        assert_eq!((index, message.starts_with("EOF while parsing")), (1, true), "{message}");
        assert_eq!(found("{}"), None);
        assert_eq!(found("[]"), None);
        assert_eq!(found("[}"), None);
    }

    #[test]
    fn fields_are_found() {
        let text = br#" {"a": [1, "x]"], "b": {"c": 2}, "c": [3]} "#;
        assert_eq!(field(text, "c"), Some(&b"[3]"[..]));
        assert_eq!(field(text, "a"), Some(&br#"[1, "x]"]"#[..]));
        assert_eq!(field(text, "d"), None);
        assert_eq!(field(b"{", "d"), None);
    }
}
