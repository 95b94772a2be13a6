//! Sigmoid cross-entropy: the baseline of the sigmoid methods.

use burn::{module::Module, tensor::Tensor};
use longtail_kernels::SigmoidTerms;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_sigmoid,
    layout::{Background, Layout},
    output::LossOutput,
    prior::bias_or_uniform,
    rows::Rows,
};

/// Configuration of [`BinaryCrossEntropyLoss`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BinaryCrossEntropyConfig {
    /// Score that every class starts with. Default: one over the number of classes, as in the
    /// released code of Class-Balanced Loss; detectors use 0.001 (LVIS) or 0.01 (RetinaNet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<f64>,
}

impl BinaryCrossEntropyConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("binary-cross-entropy", num_classes, Background::NoColumn)
    }

    /// Reads no statistics, only the number of classes.
    ///
    /// # Errors
    /// If the prior is not between 0 and 1.
    pub fn init(&self, num_classes: usize) -> Result<BinaryCrossEntropyLoss, LossError> {
        let prior_bias = bias_or_uniform(self.prior, num_classes)?;
        Ok(BinaryCrossEntropyLoss { prior_bias, layout: self.layout(num_classes) })
    }
}

/// Sigmoid cross-entropy, `L = 1/R sum_rj BCE(logit_rj, y_rj)`: summed over classes, mean over
/// rows.
#[derive(Module, Debug)]
pub struct BinaryCrossEntropyLoss {
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for BinaryCrossEntropyLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let rows = Rows::new(logits, labels, &self.layout)?;
        Ok(rows.sigmoid(SigmoidTerms::default(), reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }
}
