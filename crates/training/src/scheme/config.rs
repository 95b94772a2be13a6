//! The table `[scheme]` of a classification recipe.

use longtail_data::SamplerConfig;
use longtail_losses::{ClassificationLossConfig, CrossEntropyConfig};
use longtail_models::{ClassifierConfig, HeadConfig};
use serde::{Deserialize, Serialize};

use super::breadcrumb::BreadcrumbConfig;
use super::class_balanced::ClassBalancedDistillationConfig;
use super::contrast::ContrastConfig;
use super::self_distillation::SelfDistillationConfig;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;

/// How a model is trained: `kind` of the table `[scheme]`. All but the first take one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scheme {
    /// One loss on the logits of each batch.
    Plain {},
    /// Class-Balanced Distillation: a student on class-balanced batches, whose features follow those
    /// of finished runs.
    ClassBalancedDistillation(ClassBalancedDistillationConfig),
    /// The first stage of Self-Supervised-to-Distillation: a classifier with a contrastive branch.
    Contrast(ContrastConfig),
    /// The third stage of Self-Supervised-to-Distillation: a fresh model with a head for labels and
    /// one for the scores of a finished run.
    SelfDistillation(SelfDistillationConfig),
    /// Breadcrumb: a second classifier on features of past epochs.
    Breadcrumb(BreadcrumbConfig),
}

impl Default for Scheme {
    fn default() -> Self {
        Self::Plain {}
    }
}

impl Scheme {
    /// Whether nothing is added to one loss on one batch.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain {}
    }

    /// What reports call a run; `None` if after its loss.
    pub(crate) fn report_name(&self) -> Option<&'static str> {
        match self {
            Self::Plain {} => None,
            Self::ClassBalancedDistillation(_) => Some("class-balanced-distillation"),
            Self::Contrast(_) => Some("contrast"),
            Self::SelfDistillation(_) => Some("self-distillation"),
            Self::Breadcrumb(_) => Some("breadcrumb"),
        }
    }

    /// The model that is evaluated; `model` is that of the recipe.
    pub(crate) fn model(&self, model: &ClassifierConfig) -> ClassifierConfig {
        match self {
            Self::ClassBalancedDistillation(config) => config.student(model),
            _ => model.clone(),
        }
    }

    /// The loss that turns the logits of that model into scores; `loss` is that of the recipe.
    pub(crate) fn loss(&self, loss: &ClassificationLossConfig) -> ClassificationLossConfig {
        match self {
            Self::Plain {} | Self::ClassBalancedDistillation(_) | Self::Contrast(_) => loss.clone(),
            // The loss of the recipe is that of the other head.
            Self::SelfDistillation(_) | Self::Breadcrumb(_) => {
                ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default())
            }
        }
    }

    /// Where the tensors of that model stand in a checkpoint, below `model` or `ema`.
    pub(crate) fn model_path(&self) -> &'static str {
        match self {
            Self::Plain {} | Self::ClassBalancedDistillation(_) => "",
            Self::Contrast(_) | Self::SelfDistillation(_) | Self::Breadcrumb(_) => ".classifier",
        }
    }

    pub(crate) fn check(&self, recipe: &Recipe) -> Result<(), TrainingError> {
        if self.is_plain() {
            return Ok(());
        }
        if recipe.model.cam_calibration.is_some() {
            return Err(refuse("model.cam_calibration", "not beside a scheme"));
        }
        if recipe.reweighting.is_some() {
            return Err(refuse("reweighting", "not beside a scheme"));
        }
        match self {
            Self::Plain {} => Ok(()),
            Self::ClassBalancedDistillation(config) => {
                if recipe.sampler != SamplerConfig::default() {
                    return Err(refuse("sampler", "the scheme has its own: `scheme.sampler`"));
                }
                if recipe.model.head != HeadConfig::default() {
                    return Err(refuse("model.head", "the scheme has its own: `scheme.head`"));
                }
                if recipe.model.projection.is_some() {
                    let problem = "the scheme has its own: `scheme.projection`";
                    return Err(refuse("model.projection", problem));
                }
                config.check()
            }
            Self::Contrast(config) => config.check(recipe),
            Self::SelfDistillation(config) => config.check(),
            Self::Breadcrumb(config) => config.check(),
        }
    }
}

/// Refuses a number outside `allowed`.
pub(super) fn check_number(
    key: &str,
    value: f64,
    is_allowed: bool,
    allowed: &str,
) -> Result<(), TrainingError> {
    match is_allowed {
        true => Ok(()),
        false => Err(refuse(key, format!("{value} is not {allowed}"))),
    }
}
