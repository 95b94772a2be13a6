//! `key.path=value` on top of a TOML document.

use toml::{Table, Value};

use crate::error::TrainingError;

/// Sets `key.path=value` in `table`; tables on the way are made.
///
/// The value is read as TOML; what is no TOML value is taken as a string, so that
/// `model.backbone=cifar-resnet32` needs no quotes. `none` removes the key.
/// # Errors
/// If there is no `=`, a key is empty, or the path goes through something that is no table.
pub(crate) fn apply_override(table: &mut Table, assignment: &str) -> Result<(), TrainingError> {
    let refuse = |problem: String| {
        Err(TrainingError::Override { assignment: assignment.to_string(), problem })
    };
    let Some((path, value)) = assignment.split_once('=') else {
        return refuse("expected key.path=value".into());
    };
    let keys: Vec<&str> = path.trim().split('.').map(str::trim).collect();
    let Some((last, parents)) = keys.split_last() else {
        return refuse("expected key.path=value".into());
    };
    if keys.iter().any(|key| key.is_empty()) {
        return refuse(format!("`{path}` has an empty key"));
    }
    let mut place = table;
    for (depth, key) in parents.iter().enumerate() {
        let entry = place.entry(*key).or_insert_with(|| Value::Table(Table::new()));
        let kind = entry.type_str();
        place = match entry {
            Value::Table(table) => table,
            _ => {
                let path = keys[..=depth].join(".");
                return refuse(format!("`{path}` is a {kind}, not a table"));
            }
        };
    }
    match value.trim() {
        "none" => place.remove(*last),
        value => place.insert((*last).to_string(), parse(value)),
    };
    Ok(())
}

fn parse(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = toml::from_str::<Table>(&document).ok().and_then(|mut table| {
        let is_one_value = table.len() == 1;
        table.remove("value").filter(|_| is_one_value)
    });
    parsed.unwrap_or_else(|| Value::String(text.to_string()))
}

/// Keys whose values differ, as `key: first, not second`.
pub(crate) fn differences(first: &Table, second: &Table) -> Vec<String> {
    let mut found = Vec::new();
    compare("", first, second, &mut found);
    found
}

fn compare(prefix: &str, first: &Table, second: &Table, found: &mut Vec<String>) {
    let added = second.keys().filter(|key| !first.contains_key(*key));
    for key in first.keys().chain(added) {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (first.get(key), second.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => compare(&path, a, b, found),
            (a, b) if a == b => {}
            (a, b) => {
                let show = |value: Option<&Value>| {
                    value.map_or_else(|| "none".to_string(), ToString::to_string)
                };
                found.push(format!("{path} is {}, not {}", show(a), show(b)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_take_their_type_from_their_form() {
        let mut actual = table("seed = 1\n[optimizer]\nlr = 0.1\n[ema]\ndecay = 0.9");
        for assignment in [
            "seed=7",
            "optimizer.lr = 0.05",
            "optimizer.nesterov=true",
            "model.backbone=cifar-resnet32",
            "model.name=\"1\"",
            "schedule.warmup={ iterations = 200 }",
            "dataset.source.root=/data/a b=c",
            "ema=none",
        ] {
            apply_override(&mut actual, assignment).unwrap();
        }
        let expected = table(
            "seed = 7\n[optimizer]\nlr = 0.05\nnesterov = true\n\
             [model]\nbackbone = 'cifar-resnet32'\nname = '1'\n\
             [schedule.warmup]\niterations = 200\n[dataset.source]\nroot = '/data/a b=c'",
        );
        assert_eq!(actual, expected);
    }

    #[test]
    fn bad_assignments_are_refused() {
        let mut table = table("seed = 1");
        let mut message = |text| apply_override(&mut table, text).unwrap_err().to_string();
        assert!(message("seed").contains("expected key.path=value"));
        assert!(message("a..b=1").contains("empty key"));
        assert_eq!(message("seed.x=1"), "override `seed.x=1`: `seed` is a integer, not a table");
    }

    #[test]
    fn an_assignment_cannot_smuggle_in_other_keys() {
        let mut actual = table("seed = 1");
        apply_override(&mut actual, "name=1\nseed = 2").unwrap();
        assert_eq!(actual["seed"], Value::Integer(1));
    }

    #[test]
    fn differences_name_key_and_both_values() {
        let first = table("seed = 1\n[a]\nb = 1\nc = 2");
        let second = table("seed = 1\n[a]\nb = 3\n[d]\ne = 1");
        let expected = ["a.b is 1, not 3", "a.c is 2, not none", "d is none, not { e = 1 }"];
        assert_eq!(differences(&first, &second), expected);
    }
}
