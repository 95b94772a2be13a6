//! The settings of Meta Sampler.

use longtail_losses::{BalancedSoftmaxConfig, ClassificationLossConfig};
use longtail_models::HeadConfig;
use serde::{Deserialize, Serialize};

use super::config::over_balanced;
use super::training::StageTraining;
use crate::detection::ClassifierStart;
use crate::error::TrainingError;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::{check_counts, refuse};

/// Where the meta batches come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetaSource {
    /// The training images: the released code for long-tailed CIFAR.
    Train,
    /// The images of `dataset.validation`: the released code for ImageNet-LT and Places-LT takes
    /// their validation sets. Those images then take part in training.
    Validation,
}

/// Configuration of Meta Sampler: Ren et al., NeurIPS 2020, <https://arxiv.org/abs/2007.10740>.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetaSamplerConfig {
    /// Where the meta batches come from; has no default, as it decides what may be compared.
    pub meta_set: MetaSource,
    /// Images per meta batch, classes in turn. Default: as in a batch; the authors' 1,024 for
    /// ImageNet-LT and 512 for Places-LT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_batch_size: Option<usize>,
    /// Adam's learning rate for the rates. Default: 0.01, the authors' for CIFAR; 0.001 for
    /// ImageNet-LT and Places-LT.
    #[serde(default = "rate_lr")]
    pub rate_lr: f64,
    /// Rates begin with `frequency^-init_power`, brought to a mean of about one half. Default: 0,
    /// every image at the same rate, the authors' for CIFAR; 0.1 for ImageNet-LT, 0.3 for Places-LT.
    /// At most 1: classes equally often.
    #[serde(default)]
    pub init_power: f64,
    /// The loss of the classifier. Default: Balanced Softmax.
    #[serde(default = "balanced_softmax")]
    pub loss: ClassificationLossConfig,
    /// The classifier, which must be linear. Default: that of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// What it begins with. Default: fresh weights, as in the released code.
    #[serde(default = "fresh")]
    pub start: ClassifierStart,
    /// Default: [`StageTraining::balanced_softmax`]. The optimizer must be SGD.
    #[serde(default = "StageTraining::balanced_softmax", deserialize_with = "over_balanced")]
    pub training: StageTraining,
}

fn rate_lr() -> f64 {
    0.01
}

fn balanced_softmax() -> ClassificationLossConfig {
    ClassificationLossConfig::BalancedSoftmax(BalancedSoftmaxConfig::default())
}

fn fresh() -> ClassifierStart {
    ClassifierStart::Fresh
}

impl MetaSamplerConfig {
    /// Images per meta batch.
    pub fn meta_batch_size(&self) -> usize {
        self.meta_batch_size.unwrap_or(self.training.batch_size)
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        check_counts(&[(
            "stage_two.meta_batch_size",
            self.meta_batch_size.map(|size| size as u64),
        )])?;
        check_rate_lr("stage_two.rate_lr", self.rate_lr)?;
        if !(0.0..=1.0).contains(&self.init_power) {
            let problem = format!("{} is not in [0, 1]", self.init_power);
            return Err(refuse("stage_two.init_power", problem));
        }
        if !matches!(self.training.optimizer, OptimizerConfig::Sgd { .. }) {
            let problem = "must be sgd: the gradient of the rates is that of a step of SGD";
            return Err(refuse("stage_two.training.optimizer.kind", problem));
        }
        Ok(())
    }
}

/// Refuses a learning rate that is none.
pub(crate) fn check_rate_lr(key: &str, lr: f64) -> Result<(), TrainingError> {
    match lr > 0.0 && lr.is_finite() {
        true => Ok(()),
        false => Err(refuse(key, format!("{lr} is not a positive number"))),
    }
}
