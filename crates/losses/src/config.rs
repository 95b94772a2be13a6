//! The loss of a recipe.

use burn::tensor::Device;
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    BalancedSoftmaxConfig, ClassificationLoss, CrossEntropyConfig, LossError, layout::Layout,
};

/// Which loss, and its settings; `method = "balanced-softmax"` in a recipe. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClassificationLossConfig {
    /// Softmax cross-entropy.
    CrossEntropy(CrossEntropyConfig),
    /// Balanced Softmax.
    BalancedSoftmax(BalancedSoftmaxConfig),
}

impl Default for ClassificationLossConfig {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropyConfig::default())
    }
}

impl ClassificationLossConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        match self {
            Self::CrossEntropy(config) => config.layout(num_classes),
            Self::BalancedSoftmax(config) => config.layout(num_classes),
        }
    }

    /// Columns of the logits.
    pub fn num_logits(&self, num_classes: usize) -> usize {
        self.layout(num_classes).num_logits()
    }

    /// The method's name in a recipe.
    pub fn method(&self) -> &'static str {
        self.layout(1).method()
    }

    /// Builds the loss with the statistics of the training set; build it once, not per step.
    ///
    /// # Errors
    /// If a setting is out of range, or does not fit the statistics.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<ClassificationLoss, LossError> {
        use ClassificationLoss as Loss;
        Ok(match self {
            Self::CrossEntropy(config) => Loss::CrossEntropy(config.init(counts.num_classes())),
            Self::BalancedSoftmax(config) => Loss::BalancedSoftmax(config.init(counts, device)?),
        })
    }
}
