//! Equalized Focal Loss (EFL): classes whose negatives outweigh their positives are focused more.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::SigmoidTerms;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_sigmoid,
    error::check_parameter,
    gradient_balance::GradientBalance,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    prior::bias_of,
    rows::Rows,
};

/// Configuration of [`EqualizedFocalLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EqualizedFocalConfig {
    /// Weight of the positives; negatives weigh `1 - alpha`. Default: the authors' 0.25.
    pub alpha: f64,
    /// Focusing exponent `gamma_b` of a class in balance. Default: the authors' 2.
    pub gamma: f64,
    /// What is added to the exponent of a class without any positive gradient, `s`. Default: the
    /// authors' 8.
    pub scale: f64,
    /// Score that every class starts with. Default: the authors' 0.001; for few classes one over
    /// their number trains faster.
    pub prior: f64,
}

impl Default for EqualizedFocalConfig {
    fn default() -> Self {
        Self { alpha: 0.25, gamma: 2.0, scale: 8.0, prior: 0.001 }
    }
}

impl EqualizedFocalConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("efl", num_classes, Background::NoColumn)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(
        &self,
        num_classes: usize,
        device: &Device,
    ) -> Result<EqualizedFocalLoss, LossError> {
        check_parameter("alpha", self.alpha, (0.0..=1.0).contains(&self.alpha), "in [0, 1]")?;
        check_focusing(self.gamma, self.scale)?;
        Ok(EqualizedFocalLoss {
            balance: GradientBalance::new(num_classes, device),
            alpha: self.alpha,
            gamma: self.gamma,
            scale: self.scale,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(num_classes),
        })
    }
}

pub(crate) fn check_focusing(gamma: f64, scale: f64) -> Result<(), LossError> {
    check_parameter("gamma", gamma, gamma.is_finite() && gamma > 0.0, "positive and finite")?;
    let is_valid = scale.is_finite() && scale >= 0.0;
    check_parameter("scale", scale, is_valid, "at least 0 and finite")
}

/// Focal loss whose exponent grows with the imbalance of a class.
///
/// `L = 1/M sum_rj (gamma_j / gamma_b) alpha_t (1 - p_t)^{gamma_j} (-ln p_t)` with
/// `gamma_j = gamma_b + s (1 - g_j)`; `alpha_t` is `alpha` at positives and `1 - alpha` at
/// negatives. The ratio `g_j = min(1, P_j / (N_j + 1e-10))` divides the accumulated absolute
/// gradients of the positives and the negatives of class `j`, of the loss as it is reduced, as they
/// stood before the batch. It is 1 at first: the first batch is plain focal loss. Exponent and
/// weight are constants to the gradient.
///
/// The loss of one-stage detectors: `M` is the number of positives, [`Reduction::Count`], as
/// RetinaNet passes it. No column for background.
///
/// Source: Li et al., CVPR 2022, <https://arxiv.org/abs/2201.02593>. The gradients are computed in
/// closed form in the forward pass, where the released code sums what backward hooks see.
#[derive(Module, Debug)]
pub struct EqualizedFocalLoss {
    balance: GradientBalance,
    alpha: f64,
    gamma: f64,
    scale: f64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

/// Exponents `gamma_j`, and weights `gamma_j / gamma_b`, `[num_classes]` each.
pub(crate) fn focusing(ratio: Tensor<1>, gamma: f64, scale: f64) -> (Tensor<1>, Tensor<1>) {
    let exponents: Tensor<1> = (1.0 - ratio) * scale + gamma;
    (exponents.clone(), exponents / gamma)
}

impl LossMethod for EqualizedFocalLoss {
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
        if rows.is_empty() {
            return rows.empty_output(reduction);
        }
        let (exponents, weights) = focusing(self.balance.ratio(), self.gamma, self.scale);
        let terms = SigmoidTerms {
            positive_weights: Some(weights.clone() * self.alpha),
            negative_weights: Some(weights * (1.0 - self.alpha)),
            focal_gamma: Some(exponents),
            ..Default::default()
        };
        let (loss, [positive, negative]) = rows.sigmoid_with_reduced_sums(terms, reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::LossGradients { positive, negative } })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::LossGradients { positive, negative } = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        self.balance.add(positive, negative);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        self.balance.state()
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.balance.load(self.layout.method(), state)
    }
}
