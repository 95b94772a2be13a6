//! The table `[stage_two]` of a classification recipe.

use longtail_data::SamplerConfig;
use longtail_losses::{ClassificationLossConfig, CrossEntropyConfig};
use longtail_models::{HeadConfig, ScaledLinearConfig, TauNormalizedConfig};
use serde::{Deserialize, Deserializer, Serialize};

use super::meta_config::{MetaSamplerConfig, MetaSource};
use super::post_hoc::{NcmConfig, TauNormConfig};
use super::training::StageTraining;
use crate::detection::ClassifierStart;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;
use crate::settings::ReweightingConfig;

/// A second stage: what is done with the features that the first stage learned, which stay as they
/// are. Sources: Kang et al., ICLR 2020, <https://arxiv.org/abs/1910.09217>; Ren et al., NeurIPS
/// 2020, <https://arxiv.org/abs/2007.10740>.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum SecondStage {
    /// A classifier with any loss and sampler; with Balanced Softmax, the decoupled form of Ren et
    /// al.
    Classifier(RetrainConfig),
    /// Classifier re-training: fresh weights, cross-entropy, classes equally often.
    Crt(CrtConfig),
    /// Learnable weight scaling: one factor per class.
    Lws(LwsConfig),
    /// Weights divided by a power of their length; nothing is trained.
    TauNorm(TauNormConfig),
    /// The nearest class mean; nothing is trained.
    Ncm(NcmConfig),
    /// Meta Sampler: Balanced Softmax on classes drawn at rates that are learned.
    MetaSampler(MetaSamplerConfig),
}

/// Configuration of [`SecondStage::Classifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrainConfig {
    /// The loss. Default: that of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<ClassificationLossConfig>,
    /// The classifier. Default: that of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// What it begins with. Default: fresh weights, as in the released code of Ren et al.
    #[serde(default = "fresh")]
    pub start: ClassifierStart,
    /// Which row comes when. Default: instance-balanced.
    #[serde(default)]
    pub sampler: SamplerConfig,
    /// Deferred re-weighting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reweighting: Option<ReweightingConfig>,
    /// Default: [`StageTraining::balanced_softmax`].
    #[serde(default = "StageTraining::balanced_softmax", deserialize_with = "over_balanced")]
    pub training: StageTraining,
}

/// Configuration of [`SecondStage::Crt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrtConfig {
    /// The classifier. Default: that of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// Default: classes in turn, four images of each, as in the released code.
    #[serde(default = "class_aware")]
    pub sampler: SamplerConfig,
    /// Default: [`StageTraining::crt`].
    #[serde(default = "StageTraining::crt", deserialize_with = "over_crt")]
    pub training: StageTraining,
}

/// Configuration of [`SecondStage::Lws`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LwsConfig {
    /// Whether the factor multiplies the bias too. Default: true, as in the released classification
    /// code; the released detection code leaves the bias alone.
    #[serde(default = "yes")]
    pub scale_bias: bool,
    /// Default: classes in turn, four images of each, as in the released code.
    #[serde(default = "class_aware")]
    pub sampler: SamplerConfig,
    /// Default: [`StageTraining::lws`].
    #[serde(default = "StageTraining::lws", deserialize_with = "over_lws")]
    pub training: StageTraining,
}

fn fresh() -> ClassifierStart {
    ClassifierStart::Fresh
}

fn yes() -> bool {
    true
}

fn class_aware() -> SamplerConfig {
    SamplerConfig::ClassAware { images_per_class: 4 }
}

pub(super) fn over_balanced<'de, D: Deserializer<'de>>(
    written: D,
) -> Result<StageTraining, D::Error> {
    StageTraining::over(StageTraining::balanced_softmax(), written)
}

fn over_crt<'de, D: Deserializer<'de>>(written: D) -> Result<StageTraining, D::Error> {
    StageTraining::over(StageTraining::crt(), written)
}

fn over_lws<'de, D: Deserializer<'de>>(written: D) -> Result<StageTraining, D::Error> {
    StageTraining::over(StageTraining::lws(), written)
}

impl SecondStage {
    /// The name in a recipe.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Classifier(_) => "classifier",
            Self::Crt(_) => "crt",
            Self::Lws(_) => "lws",
            Self::TauNorm(_) => "tau-norm",
            Self::Ncm(_) => "ncm",
            Self::MetaSampler(_) => "meta-sampler",
        }
    }

    /// What reports call it; `first` is the loss of the first stage.
    pub(crate) fn report_name(&self, first: &ClassificationLossConfig) -> String {
        match self {
            Self::Classifier(_) => format!("decoupled {}", self.loss(first).method()),
            _ => self.method().to_string(),
        }
    }

    /// How it is trained; `None` where nothing is.
    pub fn training(&self) -> Option<&StageTraining> {
        match self {
            Self::Classifier(config) => Some(&config.training),
            Self::Crt(config) => Some(&config.training),
            Self::Lws(config) => Some(&config.training),
            Self::MetaSampler(config) => Some(&config.training),
            Self::TauNorm(_) | Self::Ncm(_) => None,
        }
    }

    /// The loss of the stage, which turns logits into scores; `first` is that of the first stage.
    pub(crate) fn loss(&self, first: &ClassificationLossConfig) -> ClassificationLossConfig {
        let cross_entropy =
            || ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default());
        match self {
            Self::Classifier(config) => config.loss.clone().unwrap_or_else(|| first.clone()),
            Self::MetaSampler(config) => config.loss.clone(),
            Self::Crt(_) | Self::Lws(_) | Self::TauNorm(_) | Self::Ncm(_) => cross_entropy(),
        }
    }

    /// The head at the end of the stage; `first` is that of the first stage. An exponent that is
    /// chosen is known only then.
    pub(crate) fn head(&self, first: &HeadConfig) -> HeadConfig {
        let or_first = |head: &Option<HeadConfig>| head.clone().unwrap_or_else(|| first.clone());
        match self {
            Self::Classifier(config) => or_first(&config.head),
            Self::Crt(config) => or_first(&config.head),
            Self::MetaSampler(config) => or_first(&config.head),
            Self::Lws(config) => {
                let bias = match first {
                    HeadConfig::Linear(linear) => linear.bias,
                    _ => true, // refused when the stage begins
                };
                HeadConfig::ScaledLinear(ScaledLinearConfig { bias, scale_bias: config.scale_bias })
            }
            Self::TauNorm(config) => HeadConfig::TauNormalized(TauNormalizedConfig {
                tau: config.fixed().unwrap_or(1.0),
            }),
            Self::Ncm(config) => HeadConfig::NearestMean(config.means),
        }
    }

    /// Whether it can follow on the first stage of this recipe.
    pub(crate) fn check_first(&self, recipe: &Recipe) -> Result<(), TrainingError> {
        if recipe.model.cam_calibration.is_some() {
            let problem = "not with a second stage: features are pooled by the weights of the \
                           classifier, which a second stage changes";
            return Err(refuse("model.cam_calibration", problem));
        }
        let first = &recipe.model.head;
        // Losses differ in their columns whatever the number of classes.
        let columns = |loss: &ClassificationLossConfig| loss.num_logits(2);
        let first_columns = columns(&recipe.loss);
        let own_columns = columns(&self.loss(&recipe.loss));
        let needs_linear = match self {
            Self::Lws(_) | Self::TauNorm(_) => !matches!(first, HeadConfig::Linear(_)),
            Self::MetaSampler(_) => !matches!(self.head(first), HeadConfig::Linear(_)),
            Self::Classifier(_) | Self::Crt(_) | Self::Ncm(_) => false,
        };
        if needs_linear {
            let problem = format!("{} needs a linear head", self.method());
            return Err(refuse("stage_two.method", problem));
        }
        let learned = match self {
            Self::Classifier(config) => config.start == ClassifierStart::Learned,
            Self::MetaSampler(config) => config.start == ClassifierStart::Learned,
            _ => false,
        };
        if learned && self.head(first) != *first {
            let problem = "learned, but the head is another one than that of the first stage";
            return Err(refuse("stage_two.start", problem));
        }
        let keeps_columns = learned || matches!(self, Self::Lws(_) | Self::TauNorm(_));
        if keeps_columns && first_columns != own_columns {
            let problem = format!(
                "{}: the first stage has {first_columns} columns for two classes, this one {own_columns}",
                self.method()
            );
            return Err(refuse("stage_two.method", problem));
        }
        if matches!(self, Self::MetaSampler(_)) && own_columns != 2 {
            let problem = "needs one column per class: the meta loss is cross-entropy";
            return Err(refuse("stage_two.loss.method", problem));
        }
        let key = match self {
            Self::TauNorm(config) if config.needs_validation() => "stage_two.tau",
            Self::MetaSampler(config) if config.meta_set == MetaSource::Validation => {
                "stage_two.meta_set"
            }
            _ => return Ok(()),
        };
        match recipe.dataset.validation.is_some() {
            true => Ok(()),
            false => {
                Err(refuse(key, "needs validation images, and there is no `dataset.validation`"))
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        if let Some(training) = self.training() {
            training.check()?;
        }
        match self {
            Self::Classifier(RetrainConfig { reweighting: Some(reweighting), .. })
                if !(0.0..1.0).contains(&reweighting.beta) =>
            {
                let problem = format!("{} is not in [0, 1)", reweighting.beta);
                Err(refuse("stage_two.reweighting.beta", problem))
            }
            Self::TauNorm(config) => config.check(),
            Self::MetaSampler(config) => config.check(),
            _ => Ok(()),
        }
    }
}
