//! Which method to start from: the counts of a data set become a recipe with reasons.
//!
//! The rules are those of the literature where it has one, and say so; where it has none they are
//! ours. They are a start, not a result: compare the recipe with its alternatives.

mod classification;
mod detection;
mod detector;
mod tail;

use std::fmt;

use serde::Serialize;

pub use self::classification::advise_classification;
pub use self::detection::advise_detection;
pub use self::detector::DetectorStart;
pub use self::tail::{Tail, TailShape};
use crate::any_recipe::AnyRecipe;
use crate::error::TrainingError;

/// What to start from on a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The shape of the training set.
    pub tail: Tail,
    /// The recipe, part by part.
    pub parts: Vec<Part>,
    /// What else to try, and when.
    pub alternatives: Vec<Alternative>,
    /// What to mind.
    pub warnings: Vec<String>,
}

/// A part of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Lines of TOML.
    pub toml: String,
    /// Why these. May be empty.
    pub reason: String,
}

/// Another choice for a part of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Its name.
    pub name: &'static str,
    /// Lines of TOML that take the place of the table they begin with.
    pub toml: String,
    /// When to prefer it.
    pub reason: String,
}

impl Advice {
    /// The recipe as a file, with the reasons as comments.
    pub fn to_toml(&self) -> String {
        let mut text =
            comment(&format!("A start, by `longtail advise`. Training set: {}.", self.tail));
        for warning in &self.warnings {
            text.push_str("#\n");
            text.push_str(&comment(&format!("Mind: {warning}")));
        }
        if !self.alternatives.is_empty() {
            text.push_str("#\n# To compare with, in place of the table of the same name:\n");
        }
        for Alternative { name, toml, reason } in &self.alternatives {
            text.push_str(&comment(&format!("- {name}: {reason}")));
            toml.lines().for_each(|line| text.push_str(&format!("#     {line}\n")));
        }
        for Part { toml, reason } in &self.parts {
            text.push('\n');
            if !reason.is_empty() {
                text.push_str(&comment(reason));
            }
            text.push_str(toml.trim_end());
            text.push('\n');
        }
        text
    }

    /// The recipe.
    /// # Errors
    /// If the data set cannot be written into a recipe, such as a path with a line break.
    pub fn recipe(&self) -> Result<AnyRecipe, TrainingError> {
        AnyRecipe::parse("the advised recipe", &self.to_toml(), &[""; 0])
    }

    fn part(&mut self, toml: impl Into<String>, reason: impl Into<String>) {
        self.parts.push(Part { toml: toml.into(), reason: reason.into() });
    }

    fn alternative(
        &mut self,
        name: &'static str,
        toml: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.alternatives.push(Alternative { name, toml: toml.into(), reason: reason.into() });
    }

    fn new(tail: Tail) -> Self {
        let mut warnings = Vec::new();
        if tail.num_empty > 0 {
            warnings.push(format!(
                "{} classes have no training image. No loss can learn them; priors count them as \
                 having one.",
                tail.num_empty
            ));
        }
        Self { tail, parts: Vec::new(), alternatives: Vec::new(), warnings }
    }
}

impl fmt::Display for Advice {
    /// For people: the shape, what to mind, and the parts that have a reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.tail)?;
        for warning in &self.warnings {
            writeln!(f, "\nMind: {warning}")?;
        }
        for Part { toml, reason } in self.parts.iter().filter(|part| !part.reason.is_empty()) {
            writeln!(f, "\n{reason}")?;
            toml.trim_end().lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        if !self.alternatives.is_empty() {
            writeln!(f, "\nTo compare with:")?;
        }
        for Alternative { name, toml, reason } in &self.alternatives {
            writeln!(f, "- {name}: {reason}")?;
            toml.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// The data set as tables of a recipe.
fn dataset_toml(dataset: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Table<'a, T> {
        dataset: &'a T,
    }
    // Enums and paths of a recipe: what serde refuses shows when the recipe is parsed.
    toml::to_string(&Table { dataset }).unwrap_or_else(|error| format!("# {error}\n"))
}

/// Wrapped comment lines.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        let is_full = lines.last().is_some_and(|line| line.len() + word.len() >= 100);
        if is_full {
            lines.push(String::from("#"));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_wrapped() {
        let text = comment(&"word ".repeat(50));
        assert!(text.lines().all(|line| line.starts_with("# word") && line.len() <= 100));
        assert_eq!(text.split_whitespace().filter(|word| *word == "word").count(), 50);
    }
}
