//! The recipe of a second stage on a finished run.

use std::path::{Path, PathBuf};

use longtail_losses::CalibrationConfig;
use serde::{Deserialize, Serialize};

use super::config::SecondStage;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::{self, RecipeForm, TaskKind, refuse};
use crate::run_folder::with_seed;
use crate::scheme::Scheme;
use crate::settings::RunConfig;

/// A second stage on the features of a finished run: many methods can share one backbone.
///
/// Data, transforms, backbone and evaluation are those of that run; its calibration is not.
///
/// ```
/// use longtail_training::ClassifierRecipe;
///
/// let recipe = ClassifierRecipe::parse("example", r#"
///     task = "classifier"
///     base = "runs/cifar10-lt-ce"
///     stage_two = { method = "crt", training.epochs = 5 }
/// "#, &[""; 0])?;
/// assert_eq!(recipe.stage_two.method(), "crt");
/// # Ok::<(), longtail_training::TrainingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierRecipe {
    /// What is trained: `classifier`.
    pub task: TaskKind,
    /// What reports call the run. Default: the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key of first weights, sample order and augmentation; with the seed of `base`, the result is
    /// that of one recipe of both stages. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// The finished run: its folder, or a checkpoint of any step. `{seed}` stands for the seed.
    pub base: PathBuf,
    /// What is done with its features.
    pub stage_two: SecondStage,
    /// Corrects the scores for the class counts at test time, as in a [`Recipe`]; that of `base`
    /// does not act here. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// What changes how a run is carried out, but not what it computes.
    #[serde(default)]
    pub run: RunConfig,
}

impl ClassifierRecipe {
    /// Reads a recipe file; `overrides` are `key.path=value`.
    /// # Errors
    /// If the file cannot be read, is no recipe (with line, key and allowed values), or an override
    /// or a value is wrong.
    pub fn load(path: &Path, overrides: &[impl AsRef<str>]) -> Result<Self, TrainingError> {
        Self::parse(&path.display().to_string(), &recipe_file::read_text(path)?, overrides)
    }

    /// Reads a recipe from text; `name` is what errors call it.
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        name: &str,
        text: &str,
        overrides: &[impl AsRef<str>],
    ) -> Result<Self, TrainingError> {
        recipe_file::parse(name, text, overrides)
    }

    /// The recipe with every default filled in, as TOML.
    pub fn to_toml(&self) -> String {
        recipe_file::to_toml(self)
    }

    /// The finished run, with the seed in its path.
    pub fn base(&self) -> PathBuf {
        with_seed(&self.base, self.seed)
    }

    /// Checks every value that the types let through.
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self) -> Result<(), TrainingError> {
        if self.task != TaskKind::Classifier {
            return Err(refuse("task", "must be `classifier` where there is a `base`"));
        }
        self.run.check()?;
        self.stage_two.check()
    }

    /// The recipe of both stages: that of the finished run with this second stage. If that run had
    /// two stages itself, the result of its second is the first of this one.
    pub(crate) fn whole(&self, base: &Recipe) -> Recipe {
        Recipe {
            name: self.name.clone(),
            seed: self.seed.wrapping_add(1), // as in a recipe of both stages
            model: base.final_model(),
            loss: base.final_loss(),
            scheme: Scheme::default(),
            stage_two: Some(self.stage_two.clone()),
            calibration: self.calibration,
            run: self.run,
            ..base.clone()
        }
    }
}

impl RecipeForm for ClassifierRecipe {
    fn check(&self) -> Result<(), TrainingError> {
        Self::check(self)
    }

    fn comparable(&self) -> Self {
        Self { run: RunConfig::default(), name: None, base: self.base(), ..self.clone() }
    }
}
