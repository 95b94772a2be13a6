//! The recipe: everything a run is a function of, as typed TOML.

use std::path::Path;

use longtail_data::{PipelineConfig, SamplerConfig};
use longtail_losses::{CalibrationConfig, ClassificationLossConfig};
use longtail_models::ClassifierConfig;
use serde::{Deserialize, Serialize};

use crate::dataset::DatasetConfig;
use crate::error::TrainingError;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::{self, RecipeForm, TaskKind, check_counts, refuse};
use crate::schedule::ScheduleConfig;
use crate::scheme::Scheme;
use crate::settings::{
    EmaConfig, EvaluationConfig, GradientConfig, Precision, ReweightingConfig, RunConfig,
};
use crate::stage_two::{SecondStage, TauConfig};

/// A recipe. Unknown keys are errors; relative paths are relative to the current directory.
///
/// ```
/// use longtail_training::Recipe;
///
/// let recipe = Recipe::parse("example", r#"
///     batch_size = 128
///     epochs = 15
///     dataset.source = { kind = "class-folders", root = "data/cifar10" }
///     dataset.long_tail = { imbalance = 100 }
///     model.backbone = "cifar-resnet20"
///     loss.method = "balanced-softmax"
///     optimizer = { kind = "sgd", lr = 0.1, nesterov = true, weight_decay = 2e-4 }
///     schedule.warmup = { iterations = 200 }
/// "#, &["epochs=30"])?;
/// assert_eq!(recipe.epochs, Some(30));
/// # Ok::<(), longtail_training::TrainingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is trained; here always the default, classification.
    #[serde(default)]
    pub task: TaskKind,
    /// What reports call the run. Default: the method of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key of first weights, sample order, augmentation and, unless it has its own, of the random
    /// draws of the loss. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch_size: usize,
    /// Leaves out the last batch of an epoch if it is not full. Default: true.
    #[serde(default = "yes")]
    pub drop_last: bool,
    /// Length of training in passes over the training set; either this or `iterations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Length of training in optimizer steps; either this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// Training and test images.
    pub dataset: DatasetConfig,
    /// From images to tensors. Default: those of CIFAR.
    #[serde(default)]
    pub transforms: PipelineConfig,
    /// Which image comes when. Default: instance-balanced.
    #[serde(default)]
    pub sampler: SamplerConfig,
    /// Backbone and classifier head.
    pub model: ClassifierConfig,
    /// The loss. Default: cross-entropy.
    #[serde(default)]
    pub loss: ClassificationLossConfig,
    /// SGD or AdamW, and the base learning rate.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time. Default: cosine without warm-up.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// Float type that the layers compute in while they train. Default: single precision.
    #[serde(default)]
    pub precision: Precision,
    /// Clipping and accumulation. Default: neither.
    #[serde(default)]
    pub gradient: GradientConfig,
    /// Averages the weights over time; the average is what is evaluated and exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// Weights classes by their effective number late in training (deferred re-weighting).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reweighting: Option<ReweightingConfig>,
    /// How the model is trained, if not by one loss on each batch: teachers, momentum encoders,
    /// stored features. Default: plain.
    #[serde(default, skip_serializing_if = "Scheme::is_plain")]
    pub scheme: Scheme,
    /// What is done with the features after all epochs. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_two: Option<SecondStage>,
    /// Corrects the scores for the class counts at test time; no training sees it, so a finished run
    /// may be evaluated with another one. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// When and how the test set is evaluated.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// What changes how a run is carried out, but not what it computes.
    #[serde(default)]
    pub run: RunConfig,
}

fn yes() -> bool {
    true
}

impl Recipe {
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

    /// What reports call the run.
    pub fn name(&self) -> String {
        match (&self.name, &self.stage_two) {
            (Some(name), _) => name.clone(),
            (None, Some(stage)) => stage.report_name(&self.loss),
            (None, None) => {
                self.scheme.report_name().unwrap_or_else(|| self.loss.method()).to_string()
            }
        }
    }

    /// The loss of the last stage, which turns logits into scores.
    pub fn final_loss(&self) -> ClassificationLossConfig {
        let first = self.scheme.loss(&self.loss);
        match &self.stage_two {
            Some(stage) => stage.loss(&first),
            None => first,
        }
    }

    /// The model at the end of the last stage.
    pub fn final_model(&self) -> ClassifierConfig {
        let mut model = self.scheme.model(&self.model);
        if let Some(stage) = &self.stage_two {
            model.head = stage.head(&model.head);
        }
        model
    }

    /// With the exponent of tau-normalisation that a run has chosen.
    pub(crate) fn with_tau(mut self, chosen: Option<f64>) -> Self {
        if let (Some(SecondStage::TauNorm(config)), Some(tau)) = (&mut self.stage_two, chosen) {
            config.tau = TauConfig::Fixed(tau);
        }
        self
    }

    /// The recipe of the first stage by itself.
    pub(crate) fn first_stage(&self) -> Self {
        match self.stage_two {
            // The name is that of the whole.
            Some(_) => Self { stage_two: None, name: None, ..self.clone() },
            None => self.clone(),
        }
    }

    /// Keys whose values differ in a way that makes two runs different, as
    /// `key is this one's, not the other's`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        recipe_file::recipe_differences(self, other)
    }

    /// Checks every value that the types let through.
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self) -> Result<(), TrainingError> {
        match self.task {
            TaskKind::Classification => {}
            TaskKind::Detection => {
                return Err(refuse("task", "detection: this is a recipe of a detector"));
            }
            TaskKind::Classifier => {
                return Err(refuse("task", "classifier: this is the recipe of a second stage"));
            }
        }
        match (self.epochs, self.iterations) {
            (None, None) => {
                return Err(refuse("epochs", "missing; give `epochs` or `iterations`"));
            }
            (Some(_), Some(_)) => {
                return Err(refuse("iterations", "given beside `epochs`; give one of the two"));
            }
            _ => {}
        }
        check_counts(&[
            ("epochs", self.epochs),
            ("iterations", self.iterations),
            ("batch_size", Some(self.batch_size as u64)),
            ("evaluation.batch_size", Some(self.evaluation.batch_size as u64)),
        ])?;
        self.gradient.check()?;
        self.run.check()?;
        self.ema.as_ref().map_or(Ok(()), EmaConfig::check)?;
        if let Some(ReweightingConfig { beta, .. }) = self.reweighting
            && !(0.0..1.0).contains(&beta)
        {
            return Err(refuse("reweighting.beta", format!("{beta} is not in [0, 1)")));
        }
        self.optimizer.check()?;
        self.schedule.init(self.optimizer.lr(), 1, 1)?;
        self.scheme.check(self)?;
        match &self.stage_two {
            None => Ok(()),
            Some(stage) => {
                stage.check()?;
                let (model, loss) = (self.scheme.model(&self.model), self.scheme.loss(&self.loss));
                stage.check_first(&Self { model, loss, ..self.clone() })
            }
        }
    }
}

impl RecipeForm for Recipe {
    fn check(&self) -> Result<(), TrainingError> {
        Self::check(self)
    }

    fn comparable(&self) -> Self {
        Self { run: RunConfig::default(), name: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"batch_size = 8
epochs = 2

[dataset.source]
kind = "class-folders"
root = "data"

[model]
backbone = "cifar-resnet20"

[optimizer]
kind = "sgd"
lr = 0.1
"#;

    fn message(text: &str, overrides: &[&str]) -> String {
        Recipe::parse("test.toml", text, overrides).unwrap_err().to_string()
    }

    #[test]
    fn the_resolved_form_reads_back_the_same() {
        let overrides = ["ema.decay=0.99", "reweighting.from_epoch=1", "gradient.clip_norm=5"];
        let recipe = Recipe::parse("test.toml", MINIMAL, &overrides).unwrap();
        let resolved = recipe.to_toml();
        assert!(resolved.contains("momentum = 0.9") && resolved.contains("beta = 0.9999"));
        assert_eq!(Recipe::parse("resolved", &resolved, &[""; 0]).unwrap(), recipe);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_what_is_allowed() {
        let text = MINIMAL.replace("epochs = 2", "epoch = 2");
        let message = message(&text, &[]);
        for part in ["test.toml", "line 2", "unknown field `epoch`", "`epochs`"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn wrong_types_and_values_are_named() {
        for (from, to, parts) in [
            ("batch_size = 8", "batch_size = \"8\"", ["line 1", "invalid type: string"]),
            ("batch_size = 8", "batch_size = 0", ["batch_size", "0 is not at least 1"]),
            ("cifar-resnet20", "resnet2000", ["line 9", "cifar-resnet20"]),
            ("kind = \"sgd\"", "kind = \"adam\"", ["unknown variant `adam`", "`adamw`"]),
            ("lr = 0.1", "lr = -0.1", ["optimizer.lr", "-0.1 is not a positive number"]),
            ("lr = 0.1", "lr = 0.1\nmomentom = 1", ["momentom", "`momentum`"]),
            ("epochs = 2", "epochs = 2\niterations = 3", ["iterations", "beside `epochs`"]),
            ("epochs = 2\n", "", ["epochs", "missing"]),
        ] {
            assert!(MINIMAL.contains(from));
            let message = message(&MINIMAL.replace(from, to), &[]);
            assert!(parts.iter().all(|part| message.contains(part)), "{to}: {message}");
        }
    }

    #[test]
    fn a_bad_override_is_named() {
        let message = message(MINIMAL, &["seed=3", "optimizer.lrr=0.5"]);
        assert!(message.contains("optimizer.lrr=0.5") && message.contains("`lr`"), "{message}");
        let recipe = Recipe::parse("test.toml", MINIMAL, &["optimizer.lr=0.5"]).unwrap();
        assert_eq!(recipe.optimizer.lr(), 0.5);
    }

    #[test]
    fn differences_ignore_how_a_run_is_carried_out() {
        let first = Recipe::parse("test.toml", MINIMAL, &[""; 0]).unwrap();
        let second = Recipe::parse("test.toml", MINIMAL, &["run.workers=7", "name=x"]).unwrap();
        assert!(first.differences(&second).is_empty());
        let second = Recipe::parse("t", MINIMAL, &["model.backbone=cifar-resnet32"]).unwrap();
        let expected = "model.backbone is \"cifar-resnet20\", not \"cifar-resnet32\"";
        assert_eq!(first.differences(&second), [expected]);
    }
}
