//! Focal loss: entries that are already right count less.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::SigmoidTerms;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_sigmoid,
    error::{check_length, check_parameter},
    layout::{Background, Layout},
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, table},
};

/// Weight of the positives: one number, or one per class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FocalAlpha {
    /// The same for every class.
    Same(f64),
    /// One per class.
    PerClass(Vec<f64>),
}

/// Configuration of [`FocalLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FocalConfig {
    /// Weight `alpha` of the positives; negatives weigh `1 - alpha`. Default: RetinaNet's 0.25.
    pub alpha: FocalAlpha,
    /// The exponent. Default: RetinaNet's 2.
    pub gamma: f64,
    /// Score that every class starts with. Default: RetinaNet's 0.01.
    pub prior: f64,
}

impl Default for FocalConfig {
    fn default() -> Self {
        Self { alpha: FocalAlpha::Same(0.25), gamma: 2.0, prior: 0.01 }
    }
}

impl FocalConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("focal", num_classes, Background::NoColumn)
    }

    /// Reads no statistics, only the number of classes.
    ///
    /// # Errors
    /// If an `alpha` is outside `[0, 1]` or there is not one per class, `gamma` is negative, or the
    /// prior is not between 0 and 1.
    pub fn init(&self, num_classes: usize, device: &Device) -> Result<FocalLoss, LossError> {
        let alpha = match &self.alpha {
            FocalAlpha::Same(alpha) => vec![*alpha; num_classes],
            FocalAlpha::PerClass(alpha) => alpha.clone(),
        };
        check_length("alpha", alpha.len(), num_classes)?;
        for &alpha in &alpha {
            check_parameter("alpha", alpha, (0.0..=1.0).contains(&alpha), "in [0, 1]")?;
        }
        let is_valid = self.gamma.is_finite() && self.gamma >= 0.0;
        check_parameter("gamma", self.gamma, is_valid, "at least 0 and finite")?;
        Ok(FocalLoss {
            positive_weights: table(alpha.iter().copied(), device),
            negative_weights: table(alpha.iter().map(|alpha| 1.0 - alpha), device),
            gamma: table(vec![self.gamma; num_classes], device),
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(num_classes),
        })
    }
}

/// Sigmoid cross-entropy times `alpha_t (1 - p_t)^gamma`, where `p_t` is the probability of the
/// right answer.
///
/// `L = 1/R sum_rj alpha_t (1 - p_t)^gamma (-ln p_t)`; the gradient also flows through
/// `(1 - p_t)^gamma`. RetinaNet divides by the number of positives instead of rows: use
/// [`Reduction::Count`].
///
/// Source: Lin et al., ICCV 2017, <https://arxiv.org/abs/1708.02002>. One `alpha` per class is ours.
#[derive(Module, Debug)]
pub struct FocalLoss {
    positive_weights: Tensor<1>, // alpha, [num_classes]
    negative_weights: Tensor<1>, // 1 - alpha, [num_classes]
    gamma: Tensor<1>,            // [num_classes]
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for FocalLoss {
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
        let terms = SigmoidTerms {
            positive_weights: Some(self.positive_weights.clone()),
            negative_weights: Some(self.negative_weights.clone()),
            focal_gamma: Some(self.gamma.clone()),
            ..Default::default()
        };
        Ok(rows.sigmoid(terms, reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }
}
