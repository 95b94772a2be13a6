//! The part of YAML that `data.yaml` files use: keys with a text, a list or a table of texts.

use std::collections::BTreeMap;

/// Settings of a set: folders of its splits and names of its classes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Settings {
    /// The folder that other paths start from; the file's own by default.
    pub(super) path: Option<String>,
    /// Images of each split: folders or lists of files.
    pub(super) splits: BTreeMap<String, Vec<String>>,
    /// Id and name of each class.
    pub(super) names: Vec<(u64, String)>,
}

/// A value, as far as it is understood.
enum Value {
    Text(String),
    List(Vec<String>),
    Table(Vec<(String, String)>),
}

/// Parses a file. Keys other than `path`, `train`, `val`, `test` and `names` are read over.
///
/// # Errors
/// With the line, if one of these keys has a value of another form.
pub(super) fn parse(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let lines = text.lines().map(without_comment);
    let mut lines = (1..).zip(lines).filter(|(_, line)| !line.trim().is_empty()).peekable();
    while let Some((number, line)) = lines.next() {
        let at_line = |message: &str| format!("line {number}: {message}, got {:?}", line.trim());
        if line.starts_with([' ', '\t']) || line.starts_with('-') {
            continue; // part of a value that is read over
        }
        let Some((key, value)) = line.split_once(':') else {
            if line.starts_with("---") {
                continue;
            }
            return Err(at_line("expected `key: value`"));
        };
        let (key, mut value) = (unquoted(key), value.trim().to_owned());
        let is_known = ["path", "train", "val", "test", "names"].contains(&key.as_str());
        let mut block = Vec::new();
        let is_block = |line: &str| line.starts_with([' ', '\t']) || line.starts_with("- ");
        while let Some((_, line)) = lines.next_if(|(_, line)| is_block(line) || line.trim() == "]")
        {
            block.push(line.trim().to_owned());
        }
        if !is_known {
            continue;
        }
        if value.starts_with(['[', '{']) {
            value.push_str(&block.concat());
            block.clear();
        }
        let value = read_value(&value, &block).ok_or_else(|| at_line("cannot read this value"))?;
        match (key.as_str(), value) {
            ("names", Value::List(names)) => settings.names = (0..).zip(names).collect(),
            ("names", Value::Table(names)) => {
                let number = |(id, name): (String, String)| Some((id.parse().ok()?, name));
                let names: Option<_> = names.into_iter().map(number).collect();
                settings.names = names.ok_or_else(|| at_line("class numbers must be numbers"))?;
            }
            ("names", Value::Text(_)) => return Err(at_line("names must be a list")),
            ("path", Value::Text(path)) => settings.path = Some(path).filter(|p| !p.is_empty()),
            (_, Value::Text(path)) if key != "path" => {
                let folders = if path.is_empty() { vec![] } else { vec![path] };
                settings.splits.insert(key, folders);
            }
            (_, Value::List(folders)) if key != "path" => {
                settings.splits.insert(key, folders);
            }
            _ => return Err(at_line("expected a path")),
        }
    }
    Ok(settings)
}

fn read_value(value: &str, block: &[String]) -> Option<Value> {
    if let Some(inside) = value.strip_prefix('[') {
        return Some(Value::List(items(inside.trim().strip_suffix(']')?)));
    }
    if let Some(inside) = value.strip_prefix('{') {
        let inside = inside.trim().strip_suffix('}')?;
        return items(inside)
            .iter()
            .map(|item| pair(item))
            .collect::<Option<_>>()
            .map(Value::Table);
    }
    if !value.is_empty() || block.is_empty() {
        let is_plain = block.is_empty() && !value.starts_with(['&', '*', '|', '>', '!']);
        return is_plain.then(|| Value::Text(unquoted(value)));
    }
    if block.iter().all(|line| line.starts_with('-')) {
        return Some(Value::List(block.iter().map(|line| unquoted(&line[1..])).collect()));
    }
    block.iter().map(|line| pair(line)).collect::<Option<_>>().map(Value::Table)
}

/// Items between commas that are not in quotes.
fn items(text: &str) -> Vec<String> {
    let (mut items, mut quote) = (vec![String::new()], None);
    for symbol in text.chars() {
        match quote {
            Some(open) if symbol == open => quote = None,
            None if symbol == '\'' || symbol == '"' => quote = Some(symbol),
            None if symbol == ',' => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(symbol);
        }
    }
    if items.last().is_some_and(|item| item.trim().is_empty()) {
        items.pop();
    }
    items
        .iter()
        .map(|item| if item.contains(':') { item.trim().to_owned() } else { unquoted(item) })
        .collect()
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once(':')?;
    Some((unquoted(key), unquoted(value)))
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let quoted = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    ['\'', '"'].into_iter().find_map(quoted).unwrap_or(text).to_owned()
}

/// The line up to a `#` that starts it or follows a blank.
fn without_comment(line: &str) -> &str {
    let start = line.find(" #").or_else(|| line.find("\t#"));
    let start = if line.starts_with('#') { Some(0) } else { start };
    line.get(..start.unwrap_or(line.len())).unwrap_or(line).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_names() {
        let names = |text: &str| parse(text).unwrap().names;
        let two = vec![(0, "cat".to_owned()), (1, "hot dog".to_owned())];
        assert_eq!(names("names: ['cat', \"hot dog\"]  # inline"), two);
        assert_eq!(names("nc: 2\nnames:\n- cat\n- hot dog\n"), two);
        assert_eq!(names("names:\n  0: cat\n  1: 'hot dog'\n"), two);
        assert_eq!(names("names: {0: cat, 1: hot dog}"), two);
        assert_eq!(names("names: [\n  cat,\n  hot dog,\n]\nval: x"), two);
        assert_eq!(names("names:\n  7: emu"), [(7, "emu".to_owned())]);
    }

    #[test]
    fn folders_of_splits() {
        let text = "# a set\npath: ../sets/coco8\ntrain: images/train\nval: [a, b]\ntest:\n\
                    download: |\n  https://x.y/z: 1\n  more\nkpt_shape: [17, 3]\n";
        let settings = parse(text).unwrap();
        assert_eq!(settings.path.as_deref(), Some("../sets/coco8"));
        assert_eq!(settings.splits["train"], ["images/train"]);
        assert_eq!(settings.splits["val"], ["a", "b"]);
        assert!(settings.splits["test"].is_empty());
    }

    #[test]
    fn other_forms_are_refused_with_their_line() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("nc: 1\nnames: cat"), "line 2: names must be a list, got \"names: cat\"");
        assert_eq!(error("x"), "line 1: expected `key: value`, got \"x\"");
        assert_eq!(
            error("names: {a: b}"),
            "line 1: class numbers must be numbers, got \"names: {a: b}\""
        );
        assert_eq!(error("path: [a]"), "line 1: expected a path, got \"path: [a]\"");
        assert_eq!(error("names: [a"), "line 1: cannot read this value, got \"names: [a\"");
    }
}
