//! The recipe of a detector: everything a run is a function of, as typed TOML.

use std::path::Path;

use longtail_data::{DetectionPipelineConfig, DetectionSamplerConfig};
use longtail_losses::{CalibrationConfig, ClassificationLossConfig};
use longtail_models::DetectorConfig;
use serde::{Deserialize, Serialize};

use super::dataset::DetectionDatasetConfig;
use super::settings::{BatchConfig, DetectionEvaluationConfig, InitialWeights, StageTwo};
use crate::error::TrainingError;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::{self, RecipeForm, TaskKind, check_counts, refuse};
use crate::schedule::ScheduleConfig;
use crate::settings::{EmaConfig, GradientConfig, Precision, RunConfig};

/// A recipe of a detector. Unknown keys are errors; relative paths are relative to the current
/// directory.
///
/// ```
/// use longtail_training::DetectionRecipe;
///
/// let recipe = DetectionRecipe::parse("example", r#"
///     task = "detection"
///     batch_size = 2
///     iterations = 1000
///     dataset.source = { kind = "synthetic" }
///     model = { kind = "faster-rcnn", backbone.architecture = "resnet18" }
///     loss.method = "eql"
///     optimizer = { kind = "sgd", lr = 0.02, weight_decay = 1e-4 }
/// "#, &["iterations=20"])?;
/// assert_eq!(recipe.iterations, 20);
/// # Ok::<(), longtail_training::TrainingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionRecipe {
    /// What is trained: `detection`.
    pub task: TaskKind,
    /// What reports call the run. Default: the method of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Key of first weights, sample order, augmentation and sampled regions. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Images per batch.
    pub batch_size: usize,
    /// Length of training in optimizer steps.
    pub iterations: u64,
    /// The batch size that the learning rate is stated for: the rate of a step is `optimizer.lr`
    /// times `batch_size * gradient.accumulate` over this (linear scaling rule, Goyal et al., 2017,
    /// <https://arxiv.org/abs/1706.02677>). Iterations are not scaled. Default: no scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_batch_size: Option<usize>,
    /// Training and validation images.
    pub dataset: DetectionDatasetConfig,
    /// From images to tensors.
    #[serde(default)]
    pub transforms: DetectionPipelineConfig,
    /// Which image comes when. Default: every image once per epoch, shuffled.
    #[serde(default)]
    pub sampler: DetectionSamplerConfig,
    /// How images are put into batches.
    #[serde(default)]
    pub batches: BatchConfig,
    /// The detector, with all of its stages.
    pub model: DetectorConfig,
    /// The loss of the box classifier. Softmax losses need their `background`.
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
    /// Weights to begin with. Default: fresh ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitialWeights>,
    /// Trains the classifier alone afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_two: Option<StageTwo>,
    /// Corrects the scores of detections for the class counts; no training sees it, so a finished
    /// run may be evaluated with another one. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// When and how the validation set is evaluated.
    #[serde(default)]
    pub evaluation: DetectionEvaluationConfig,
    /// What changes how a run is carried out, but not what it computes.
    #[serde(default)]
    pub run: RunConfig,
}

impl DetectionRecipe {
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
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.final_loss().method())
    }

    /// The loss of the last stage: it decides the classifier's columns.
    pub fn final_loss(&self) -> &ClassificationLossConfig {
        let second = self.stage_two.as_ref().and_then(|stage| stage.loss.as_ref());
        second.unwrap_or(&self.loss)
    }

    /// The learning rate that the schedule begins with, after scaling by the batch size.
    pub fn base_lr(&self) -> f64 {
        let images = (self.batch_size * self.gradient.accumulate) as f64;
        let reference = self.reference_batch_size.map_or(images, |reference| reference as f64);
        self.optimizer.lr() * images / reference
    }

    /// The recipe of the first stage by itself. A memory of features is for the stage with its loss.
    pub(crate) fn first_stage(&self) -> Self {
        let mut first = Self { stage_two: None, ..self.clone() };
        if !matches!(first.loss, ClassificationLossConfig::Equilibrium(_)) {
            first.model = first.model.without_feature_memory();
        }
        first
    }

    /// The second stage as a recipe by itself; its batches are others than those of the first.
    pub(crate) fn second_stage(&self) -> Option<Self> {
        let stage = self.stage_two.clone()?;
        let mut recipe = Self { stage_two: None, init: None, ..self.clone() };
        recipe.seed = self.seed.wrapping_add(1);
        recipe.iterations = stage.iterations;
        recipe.schedule = stage.schedule;
        recipe.loss = stage.loss.unwrap_or(recipe.loss);
        recipe.sampler = stage.sampler.unwrap_or(recipe.sampler);
        recipe.optimizer = stage.optimizer.unwrap_or(recipe.optimizer);
        Some(recipe)
    }

    /// Checks every value that the types let through.
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self) -> Result<(), TrainingError> {
        if self.task != TaskKind::Detection {
            return Err(refuse("task", "classification: this is a recipe of a classifier"));
        }
        check_counts(&[
            ("iterations", Some(self.iterations)),
            ("stage_two.iterations", self.stage_two.as_ref().map(|stage| stage.iterations)),
            ("batch_size", Some(self.batch_size as u64)),
            ("reference_batch_size", self.reference_batch_size.map(|size| size as u64)),
            ("evaluation.batch_size", Some(self.evaluation.batch_size as u64)),
            ("evaluation.max_images", self.evaluation.max_images.map(|images| images as u64)),
        ])?;
        self.gradient.check()?;
        self.run.check()?;
        self.ema.as_ref().map_or(Ok(()), EmaConfig::check)?;
        self.optimizer.check()?;
        self.schedule.init(self.optimizer.lr(), 1, 1)?;
        match (self.second_stage(), &self.stage_two) {
            (Some(second), Some(stage)) => {
                second.check()?;
                stage.meta_reweighter.map_or(Ok(()), |config| config.check(&second))
            }
            _ => Ok(()),
        }
    }
}

impl RecipeForm for DetectionRecipe {
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

    const MINIMAL: &str = r#"task = "detection"
batch_size = 2
iterations = 90

[dataset.source]
kind = "synthetic"

[model]
kind = "faster-rcnn"

[loss]
method = "eql"

[optimizer]
kind = "sgd"
lr = 0.02
"#;

    fn parse(overrides: &[&str]) -> DetectionRecipe {
        DetectionRecipe::parse("test.toml", MINIMAL, overrides).unwrap()
    }

    #[test]
    fn the_resolved_form_reads_back_the_same() {
        let overrides = ["stage_two={ iterations = 5 }", "ema.decay=0.9", "init.path=a.pth"];
        let recipe = parse(&overrides);
        let resolved = recipe.to_toml();
        assert!(resolved.contains("momentum = 0.9") && resolved.contains("scope"), "{resolved}");
        assert_eq!(DetectionRecipe::parse("resolved", &resolved, &[""; 0]).unwrap(), recipe);
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (from, to, parts) in [
            ("iterations = 90", "epochs = 12", ["line 3", "unknown field `epochs`"]),
            ("iterations = 90", "iterations = 0", ["iterations", "0 is not at least 1"]),
            ("iterations = 90\n", "", ["missing field", "iterations"]),
            ("batch_size = 2", "batch_size = \"2\"", ["line 2", "invalid type: string"]),
            ("faster-rcnn", "fastest-rcnn", ["fastest-rcnn", "`mask-rcnn`"]),
            ("\"eql\"", "\"eqll\"", ["unknown variant `eqll`", "`eql-v2`"]),
            ("synthetic", "imagenet", ["imagenet", "`coco`"]),
            ("lr = 0.02", "lr = 0", ["optimizer.lr", "0 is not a positive number"]),
            ("task = \"detection\"\n", "", ["missing field", "task"]),
        ] {
            assert!(MINIMAL.contains(from), "{from}");
            let text = MINIMAL.replace(from, to);
            let error = DetectionRecipe::parse("test.toml", &text, &[""; 0]).unwrap_err();
            let message = error.to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{to}: {message}");
        }
    }

    #[test]
    fn the_learning_rate_follows_the_batch_size() {
        assert_eq!(parse(&[]).base_lr(), 0.02);
        let overrides = ["reference_batch_size=16", "gradient.accumulate=4"];
        assert_eq!(parse(&overrides).base_lr(), 0.01);
    }

    #[test]
    fn a_second_stage_takes_over_what_it_does_not_state() {
        let overrides = ["stage_two={ iterations = 5, loss.method = \"balanced-sigmoid\" }"];
        let recipe = parse(&overrides);
        let second = recipe.second_stage().unwrap();
        assert_eq!((second.iterations, second.loss.method()), (5, "balanced-sigmoid"));
        assert_eq!((second.optimizer.clone(), second.seed), (recipe.optimizer.clone(), 1));
        assert_eq!(recipe.name(), "balanced-sigmoid");
        assert_eq!(recipe.first_stage().name(), "eql");
    }
}
