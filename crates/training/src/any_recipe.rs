//! A recipe file of any task.

use std::path::Path;

use crate::detection::DetectionRecipe;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::{TaskKind, parse, read_text, task_of, to_toml};
use crate::stage_two::ClassifierRecipe;

/// A recipe of any task, as a file states it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives per run")]
pub enum AnyRecipe {
    /// `task = "classification"`, or no task.
    Classification(Recipe),
    /// `task = "classifier"`.
    Classifier(ClassifierRecipe),
    /// `task = "detection"`.
    Detection(DetectionRecipe),
}

impl AnyRecipe {
    /// Reads a recipe file; `overrides` are `key.path=value`.
    /// # Errors
    /// If the file cannot be read, is no recipe (with line, key and allowed values), or an override
    /// or a value is wrong.
    pub fn load(path: &Path, overrides: &[impl AsRef<str>]) -> Result<Self, TrainingError> {
        Self::parse(&path.display().to_string(), &read_text(path)?, overrides)
    }

    /// Reads a recipe from text; `name` is what errors call it.
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        name: &str,
        text: &str,
        overrides: &[impl AsRef<str>],
    ) -> Result<Self, TrainingError> {
        Ok(match task_of(name, text)? {
            TaskKind::Classification => Self::Classification(parse(name, text, overrides)?),
            TaskKind::Classifier => Self::Classifier(parse(name, text, overrides)?),
            TaskKind::Detection => Self::Detection(parse(name, text, overrides)?),
        })
    }

    /// The recipe with every default filled in, as TOML.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Classification(recipe) => to_toml(recipe),
            Self::Classifier(recipe) => to_toml(recipe),
            Self::Detection(recipe) => to_toml(recipe),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_decides_which_keys_there_are() {
        let message =
            |text: &str| AnyRecipe::parse("x.toml", text, &[""; 0]).unwrap_err().to_string();
        let unknown = message("seed = 1\ntask = \"segmentation\"");
        assert!(unknown.contains("line 2") && unknown.contains("`detection`"), "{unknown}");
        let detection = message("task = \"detection\"\nepochs = 3");
        assert!(detection.contains("line 2") && detection.contains("`iterations`"), "{detection}");
        let classification = message("cascade = true");
        assert!(classification.contains("`epochs`"), "{classification}");
    }
}
