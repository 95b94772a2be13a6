//! The smaller sections of a detection recipe.

use std::path::PathBuf;

use longtail_data::{BatchPadding, DetectionLoaderConfig, DetectionSamplerConfig};
use longtail_eval::Benchmark;
use longtail_losses::ClassificationLossConfig;
use longtail_models::DetectorLoadScope;
use serde::{Deserialize, Serialize};

use crate::optimizer_config::OptimizerConfig;
use crate::schedule::ScheduleConfig;

/// Weights to begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialWeights {
    /// A `.safetensors` or PyTorch file: of a detector, or of a classifier with the same backbone.
    pub path: PathBuf,
    /// How much of it is used. Default: the backbone.
    #[serde(default = "backbone")]
    pub scope: DetectorLoadScope,
}

fn backbone() -> DetectorLoadScope {
    DetectorLoadScope::Backbone
}

/// How images are put into batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Wide images with wide ones, tall with tall ones, so that there is little padding.
    /// Default: true.
    pub group_by_aspect: bool,
    /// Trains on images without objects too. Default: true; Detectron2 leaves them out.
    pub keep_empty: bool,
    /// Sizes that batches are padded to. Default: multiples of 32.
    pub padding: BatchPadding,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { group_by_aspect: true, keep_empty: true, padding: BatchPadding::default() }
    }
}

impl BatchConfig {
    pub(crate) fn loader_config(&self) -> DetectionLoaderConfig {
        DetectionLoaderConfig {
            group_by_aspect: self.group_by_aspect,
            keep_empty: self.keep_empty,
            padding: self.padding.clone(),
            ..Default::default()
        }
    }
}

/// Decoupled training: after all iterations, the last layer of the box classifier alone is trained
/// on, starting from the weights of the first stage (Kang et al., ICLR 2020,
/// <https://arxiv.org/abs/1910.09217>; Ren et al., NeurIPS 2020,
/// <https://arxiv.org/abs/2007.10740>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTwo {
    /// Optimizer steps. Released code of Ren et al.: 22,000.
    pub iterations: u64,
    /// The loss. Default: that of the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<ClassificationLossConfig>,
    /// Which image comes when. Default: as in the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<DetectionSamplerConfig>,
    /// The optimizer and its learning rate. Default: as in the first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerConfig>,
    /// The learning rate over time. Default: cosine without warm-up.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// What the classifier begins with. Default: what the first stage learned.
    #[serde(default)]
    pub classifier: ClassifierStart,
    /// Learns how much the objects of each class weigh. Default: all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_reweighter: Option<MetaReweighterConfig>,
}

/// Meta Reweighter: Ren et al., NeurIPS 2020, <https://arxiv.org/abs/2007.10740>. The weights of
/// foreground regions by class are learned so that a step on the batch lowers the loss of a meta
/// batch in which rare classes are as frequent as others.
///
/// Needs a detector with one box head, a linear classifier, a sigmoid loss without a column for
/// background, SGD, no accumulation, and one device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaReweighterConfig {
    /// Adam's learning rate for the weights. Default: the authors' 0.01.
    pub rate_lr: f64,
    /// The loss of the meta batch. Default: that of the paper.
    pub meta_loss: MetaLoss,
    /// Images per meta batch. Default: as in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_batch_size: Option<usize>,
}

impl Default for MetaReweighterConfig {
    fn default() -> Self {
        Self { rate_lr: 0.01, meta_loss: MetaLoss::default(), meta_batch_size: None }
    }
}

/// The loss of a meta batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetaLoss {
    /// Plain sigmoid cross-entropy, as in the paper.
    #[default]
    Unshifted,
    /// The loss of the stage, with its prior: what the released code computes, since its head has
    /// shifted the logits in place by then.
    Shifted,
}

/// What the classifier of a second stage begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassifierStart {
    /// The weights of the first stage; both losses need the same columns.
    #[default]
    Learned,
    /// Fresh weights.
    Fresh,
}

/// When and how the validation set is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionEvaluationConfig {
    /// Evaluates after every so many iterations, and always at the end; 0: at the end only.
    /// Default: 0.
    pub every_iterations: u64,
    /// Images per batch. Default: 2.
    pub batch_size: usize,
    /// Whose rules. Default: LVIS where the annotations name absent classes, else COCO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Benchmark>,
    /// Evaluates the first so many images of the validation set during training; the end always
    /// takes all. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_images: Option<usize>,
}

impl Default for DetectionEvaluationConfig {
    fn default() -> Self {
        Self { every_iterations: 0, batch_size: 2, protocol: None, max_images: None }
    }
}
