//! Equalization Loss v2 (EQL v2): each class's positives and negatives are weighted by the balance
//! of the gradients it has received.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, activation::sigmoid},
};
use longtail_kernels::SigmoidTerms;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_sigmoid,
    error::check_parameter,
    layout::{Background, Layout},
    method::{foreign_unless, named_state},
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, statistic, table},
};

/// Gradient ratio before any batch: far past `mu`, so that every weight is 1.
const INITIAL_RATIO: f64 = 100.0;

/// Configuration of [`EqualizationV2Loss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EqualizationV2Config {
    /// Steepness of the weight as a function of the gradient ratio. Default: the authors' 12.
    pub gamma: f64,
    /// Gradient ratio at which negatives weigh one half. Default: the authors' 0.8.
    pub mu: f64,
    /// Extra weight of the positives of a suppressed class. Default: the authors' 4.
    pub alpha: f64,
    /// Score that every column starts with. Default: the authors' 0.001; for few classes one over
    /// their number trains faster.
    pub prior: f64,
}

impl Default for EqualizationV2Config {
    fn default() -> Self {
        Self { gamma: 12.0, mu: 0.8, alpha: 4.0, prior: 0.001 }
    }
}

impl EqualizationV2Config {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("eql-v2", num_classes, Background::Column)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(
        &self,
        num_classes: usize,
        device: &Device,
    ) -> Result<EqualizationV2Loss, LossError> {
        for (name, value) in [("gamma", self.gamma), ("alpha", self.alpha)] {
            check_parameter(name, value, value.is_finite() && value >= 0.0, "at least 0")?;
        }
        check_parameter("mu", self.mu, self.mu.is_finite(), "finite")?;
        let zeros = || statistic(table(vec![0.0; num_classes], device));
        Ok(EqualizationV2Loss {
            positive: zeros(),
            negative: zeros(),
            ratio: statistic(table(vec![INITIAL_RATIO; num_classes], device)),
            gamma: self.gamma,
            mu: self.mu,
            alpha: self.alpha,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(num_classes),
        })
    }
}

/// Sigmoid cross-entropy that lifts classes whose negatives outweigh their positives.
///
/// `L = 1/R sum_rj (u_j y_rj + v_j (1 - y_rj)) BCE(logit_rj, y_rj)`, with the negative weight
/// `v_j = 1 / (1 + e^{-gamma (g_j - mu)})` and the positive weight `u_j = 1 + alpha (1 - v_j)`. The
/// ratio `g_j = P_j / (N_j + 1e-10)` divides the accumulated absolute gradients (weighted, not
/// divided by `R`) of the positives and the negatives of class `j`, as they stood before the batch.
///
/// The last column says background; its target is 1 on background rows, so 0 everywhere in plain
/// classification, and it is not weighted. At test time `p_j = sigmoid(z_j) (1 - sigmoid(z_bg))`.
///
/// Source: Tan et al., CVPR 2021, <https://arxiv.org/abs/2012.08548>. The gradients are computed in
/// closed form; the released code sums them over processes inside the loss, here the caller merges
/// the updates.
#[derive(Module, Debug)]
pub struct EqualizationV2Loss {
    positive: Param<Tensor<1>>, // P, [num_classes]
    negative: Param<Tensor<1>>, // N, [num_classes]
    ratio: Param<Tensor<1>>,    // g, [num_classes]
    gamma: f64,
    mu: f64,
    alpha: f64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl EqualizationV2Loss {
    /// Weights of positives and negatives, `[num_classes + 1]` each; 1 for background.
    fn weights(&self) -> (Tensor<1>, Tensor<1>) {
        let ratio = self.ratio.val().without_autodiff();
        let negative = sigmoid((ratio - self.mu) * self.gamma);
        let positive = (-negative.clone() + 1.0) * self.alpha + 1.0;
        let one = Tensor::ones([1], &negative.device());
        (Tensor::cat(vec![positive, one.clone()], 0), Tensor::cat(vec![negative, one], 0))
    }
}

impl LossMethod for EqualizationV2Loss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let mut rows = Rows::new(logits, labels, &self.layout)?;
        if rows.is_empty() {
            return rows.empty_output(reduction);
        }
        let (positive_weights, negative_weights) = self.weights();
        rows.add_background_target();
        let terms = SigmoidTerms {
            positive_weights: Some(positive_weights),
            negative_weights: Some(negative_weights),
            ..Default::default()
        };
        let (loss, sums) = rows.sigmoid_with_sums(terms, reduction)?;
        // Not of the background column.
        let [positive, negative] = sums.map(|sums| sums.narrow(0, 0, self.layout.num_classes()));
        Ok(LossOutput { loss, update: StatisticsUpdate::GradientSums { positive, negative } })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::GradientSums { positive, negative } = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        let positive = self.positive.val() + positive.without_autodiff();
        let negative = self.negative.val() + negative.without_autodiff();
        self.ratio = statistic(positive.clone() / (negative.clone() + 1e-10));
        self.positive = statistic(positive);
        self.negative = statistic(negative);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        vec![
            ("positive".into(), self.positive.val()),
            ("negative".into(), self.negative.val()),
            ("ratio".into(), self.ratio.val()),
        ]
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let length = self.layout.num_classes();
        let names = ["positive", "negative", "ratio"].map(|name| (name, length));
        let [positive, negative, ratio] =
            named_state(self.layout.method(), names, state)?.map(statistic);
        (self.positive, self.negative, self.ratio) = (positive, negative, ratio);
        Ok(())
    }
}
