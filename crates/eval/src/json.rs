//! JSON that people can read: indented, but deep inside on one line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::EvalError;

/// Containers nested deeper than this stand on one line.
const MAX_DEPTH: usize = 3;

/// Indented JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, EvalError> {
    let mut text = Vec::new();
    let formatter = Readable { pretty: PrettyFormatter::new(), depth: 0 };
    value
        .serialize(&mut Serializer::with_formatter(&mut text, formatter))
        .map_err(EvalError::Json)?;
    String::from_utf8(text).map_err(|error| EvalError::Json(serde::ser::Error::custom(error)))
}

struct Readable {
    pretty: PrettyFormatter<'static>,
    depth: usize,
}

impl Readable {
    fn is_indented(&self) -> bool {
        self.depth <= MAX_DEPTH
    }

    fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }
}

impl Formatter for Readable {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_indented() { self.pretty.begin_array(writer) } else { writer.write_all(b"[") }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let is_indented = self.is_indented();
        self.depth -= 1;
        if is_indented { self.pretty.end_array(writer) } else { writer.write_all(b"]") }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match self.is_indented() {
            true => self.pretty.begin_array_value(out, first),
            false => Self::separate(out, first),
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_indented() { self.pretty.end_array_value(writer) } else { Ok(()) }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_indented() { self.pretty.begin_object(writer) } else { writer.write_all(b"{") }
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let is_indented = self.is_indented();
        self.depth -= 1;
        if is_indented { self.pretty.end_object(writer) } else { writer.write_all(b"}") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match self.is_indented() {
            true => self.pretty.begin_object_key(out, first),
            false => Self::separate(out, first),
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_indented() { self.pretty.end_object_value(writer) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_containers_stand_on_one_line() {
        let value = serde_json::json!({"a": {"b": [[1, 2], {"c": 3, "d": {}}], "e": []}, "f": 1});
        let expected = "\
{
  \"a\": {
    \"b\": [
      [1, 2],
      {\"c\": 3, \"d\": {}}
    ],
    \"e\": []
  },
  \"f\": 1
}";
        let text = to_json(&value).unwrap();
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
