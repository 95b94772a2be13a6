//! Recipes as TOML: what those of all tasks have in common.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::TrainingError;
use crate::overrides::{apply_override, differences};

/// What a recipe trains: its key `task`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// One class per image.
    #[default]
    Classification,
    /// A second stage of classification on a finished run.
    Classifier,
    /// Boxes, and masks where the model has them.
    Detection,
}

/// A recipe of one task.
pub(crate) trait RecipeForm: Clone + Serialize + DeserializeOwned {
    /// Checks every value that the types let through.
    fn check(&self) -> Result<(), TrainingError>;

    /// The recipe without what does not change the result.
    fn comparable(&self) -> Self;
}

pub(crate) fn read_text(path: &Path) -> Result<String, TrainingError> {
    fs::read_to_string(path)
        .map_err(|source| TrainingError::Read { path: path.to_path_buf(), source })
}

/// The key `task` of a recipe, whatever its other keys.
pub(crate) fn task_of(name: &str, text: &str) -> Result<TaskKind, TrainingError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        task: TaskKind,
    }
    let head: Head = toml::from_str(text).map_err(|error| syntax(name, &error))?;
    Ok(head.task)
}

/// Reads a recipe of one task.
pub(crate) fn parse<R: RecipeForm>(
    name: &str,
    text: &str,
    overrides: &[impl AsRef<str>],
) -> Result<R, TrainingError> {
    let mut recipe: R = toml::from_str(text).map_err(|error| syntax(name, &error))?;
    if !overrides.is_empty() {
        let mut table: Table = toml::from_str(text).map_err(|error| syntax(name, &error))?;
        for assignment in overrides {
            apply_override(&mut table, assignment.as_ref())?;
            // One at a time, so that the error names the override at fault.
            recipe = table.clone().try_into().map_err(|error| {
                syntax(&format!("{name} with override `{}`", assignment.as_ref()), &error)
            })?;
        }
    }
    recipe.check()?;
    Ok(recipe)
}

/// The recipe with every default filled in.
pub(crate) fn to_toml(recipe: &impl Serialize) -> String {
    // Every key is a string and no table comes after a value, so this cannot fail.
    toml::to_string(recipe).unwrap_or_default()
}

/// Keys whose values differ in a way that makes two runs different, as
/// `key is the first's, not the second's`.
pub(crate) fn recipe_differences<R: RecipeForm>(first: &R, second: &R) -> Vec<String> {
    let table = |recipe: &R| -> Table {
        toml::from_str(&to_toml(&recipe.comparable())).unwrap_or_default()
    };
    differences(&table(first), &table(second))
}

/// Refuses counts of 0.
pub(crate) fn check_counts(counts: &[(&str, Option<u64>)]) -> Result<(), TrainingError> {
    match counts.iter().find(|(_, count)| *count == Some(0)) {
        None => Ok(()),
        Some((key, _)) => Err(refuse(key, "0 is not at least 1")),
    }
}

/// The error of a value that makes no sense.
pub(crate) fn refuse(key: &str, problem: impl Into<String>) -> TrainingError {
    TrainingError::RecipeValue { key: key.to_string(), problem: problem.into() }
}

fn syntax(name: &str, error: &toml::de::Error) -> TrainingError {
    TrainingError::RecipeSyntax { name: name.to_string(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use crate::recipe::Recipe;

    #[test]
    fn a_recipe_of_another_task_is_refused_by_name() {
        let text = "task = \"detection\"\nbatch_size = 1\nepochs = 1\n\
                    dataset.source = { kind = \"synthetic\" }\n\
                    model.backbone = \"cifar-resnet20\"\noptimizer = { kind = \"sgd\", lr = 0.1 }";
        let message = Recipe::parse("x.toml", text, &[""; 0]).unwrap_err().to_string();
        assert!(message.contains("`task`") && message.contains("detection"), "{message}");
    }
}
