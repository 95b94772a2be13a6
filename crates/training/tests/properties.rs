//! Properties of recipes: one that is accepted comes back from its print, and damage is an error that
//! says where, or another recipe; never a panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use longtail_testing::{Outcome, calm, damaged, damages, holds};
use longtail_training::AnyRecipe;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use toml::{Table, Value};

/// The texts of all shipped recipes.
fn recipes() -> Vec<String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes"));
    let entries =
        |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries(folder.to_path_buf()).chain(entries(folder.join("published")));
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Every value that is no table and no list.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| leaves(value, found)),
        Value::Array(list) => list.iter_mut().for_each(|value| leaves(value, found)),
        leaf => found.push(leaf),
    }
}

/// Values of all kinds that a person may type, good and bad.
fn value() -> impl Strategy<Value = Value> {
    let words = ["cifar-resnet20", "eql-v2", "sgd", "cosine", "a \"b\"\n", "é", ""];
    prop_oneof![
        3 => (0..2000_i64).prop_map(Value::Integer),
        1 => any::<i64>().prop_map(Value::Integer),
        3 => (0.0..1.0_f64).prop_map(Value::Float),
        1 => any::<f64>().prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => select(words.to_vec()).prop_map(|word| Value::String(word.to_owned())),
    ]
}

/// How many recipes were accepted and refused.
#[derive(Default)]
struct Counts {
    accepted: Cell<u32>,
    refused: Cell<u32>,
}

impl Counts {
    /// A property of which all cases were refused would say nothing.
    fn are_of_both_kinds(&self) {
        let counts = (self.accepted.get(), self.refused.get());
        assert!(counts.0 > 50 && counts.1 > 50, "accepted and refused: {counts:?}");
    }
}

/// What is accepted prints as a recipe that is the same; what is not is told with its place.
fn comes_back_or_is_told(text: &str, changes: &[String], counts: &Counts) -> Outcome {
    let recipe = match calm(|| AnyRecipe::parse("x.toml", text, changes))? {
        Ok(recipe) => recipe,
        Err(error) => {
            let message = error.to_string();
            let places = ["recipe x.toml", "recipe key `", "override `"];
            prop_assert!(places.iter().any(|place| message.starts_with(place)), "{message}");
            counts.refused.update(|count| count + 1);
            return Ok(());
        }
    };
    let printed = recipe.to_toml();
    let again = calm(|| AnyRecipe::parse("printed", &printed, &[""; 0]))?;
    let again = again.map_err(|error| TestCaseError::fail(format!("{error}\n{printed}")))?;
    prop_assert_eq!(again.to_toml(), printed);
    prop_assert_eq!(again, recipe);
    counts.accepted.update(|count| count + 1);
    Ok(())
}

#[test]
fn recipes_with_other_values_come_back() {
    let strategy = (select(recipes()), vec((any::<Index>(), value()), 1..4));
    let counts = Counts::default();
    holds(1000, strategy, |(text, changes)| {
        // All defaults are written out, so that every key there is can change.
        let printed = AnyRecipe::parse("x.toml", &text, &[""; 0]).unwrap().to_toml();
        let mut table = Value::Table(toml::from_str::<Table>(&printed).unwrap());
        for (place, value) in changes {
            let mut found = Vec::new();
            leaves(&mut table, &mut found);
            let place = place.index(found.len());
            *found[place] = value;
        }
        comes_back_or_is_told(&toml::to_string(&table).unwrap(), &[], &counts)
    });
    counts.are_of_both_kinds();
}

#[test]
fn damaged_recipes_are_told_or_come_back() {
    let counts = Counts::default();
    holds(1000, (select(recipes()), damages()), |(text, damages)| {
        let bytes = damaged(text.as_bytes(), &damages);
        comes_back_or_is_told(&String::from_utf8_lossy(&bytes), &[], &counts)
    });
    counts.are_of_both_kinds();
}

#[test]
fn changes_on_the_command_line_are_told_or_taken() {
    let keys = [
        "seed",
        "epochs",
        "iterations",
        "name",
        "loss.method",
        "loss",
        "optimizer.lr",
        "optimizer",
        "model.backbone",
        "model",
        "schedule.warmup.iterations",
        "ema.decay",
        "run.workers",
        "task",
        "dataset.source.root",
        "a.b",
        "",
        ".",
        "seed.x",
        "transforms.train",
    ];
    let key = select(keys.to_vec());
    let text = vec(select("0123456789.-+eE\"'[]{}=,# \nabnone".chars().collect::<Vec<_>>()), 0..8);
    let text = text.prop_map(String::from_iter);
    let value = prop_oneof![value().prop_map(|value| value.to_string()), text];
    let equals = prop_oneof![9 => Just("="), 1 => Just("")];
    let drawn =
        (key, equals, value).prop_map(|(key, equals, value)| format!("{key}{equals}{value}"));
    let usual = [
        "seed=7",
        "batch_size=3",
        "optimizer.lr=0.05",
        "name=x y",
        "name=\"\u{e9}\"",
        "ema=none",
        "run.workers=2",
        "run.log_every=5",
        "schedule.warmup={ iterations = 3 }",
        "run.threads=1",
    ];
    let usual = select(usual.to_vec()).prop_map(str::to_owned);
    let change = prop_oneof![3 => usual, 1 => drawn];
    let counts = Counts::default();
    holds(1000, (select(recipes()), vec(change, 1..4)), |(text, changes)| {
        comes_back_or_is_told(&text, &changes, &counts)
    });
    counts.are_of_both_kinds();
}
