//! Equalization Loss (EQL): rare classes stop paying for every frequent example.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{RowSet, SigmoidTerms};
use longtail_types::{ClassCounts, TailRule};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_sigmoid,
    error::{check_frequencies, check_parameter},
    layout::{Background, Layout},
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, table},
};

/// Configuration of [`EqualizationLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EqualizationConfig {
    /// Which classes are tail, by image counts. Default: image frequency below 1.77e-3, the
    /// authors' setting for LVIS v0.5 (at most 100 images). On a small data set it selects no
    /// class, which is an error: choose a count.
    pub tail: TailRule,
    /// Score that every class starts with. Default: the authors' 0.001; for few classes one over
    /// their number trains faster.
    pub prior: f64,
}

impl Default for EqualizationConfig {
    fn default() -> Self {
        Self { tail: TailRule::ImageFrequencyBelow(1.77e-3), prior: 0.001 }
    }
}

impl EqualizationConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("eql", num_classes, Background::NoColumn)
    }

    /// Reads the image counts and the number of annotated images.
    ///
    /// # Errors
    /// If the tail rule selects no class or every class, or the prior is not between 0 and 1.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<EqualizationLoss, LossError> {
        self.init_with_tail(&self.tail.tail_classes(counts)?, device)
    }

    /// Takes the tail classes as they are; none of them makes the loss sigmoid cross-entropy.
    ///
    /// # Errors
    /// If the prior is not between 0 and 1.
    pub fn init_with_tail(
        &self,
        is_tail: &[bool],
        device: &Device,
    ) -> Result<EqualizationLoss, LossError> {
        let negative_weights = is_tail.iter().map(|&tail| if tail { 0.0 } else { 1.0 });
        Ok(EqualizationLoss {
            negative_weights: table(negative_weights, device),
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(is_tail.len()),
        })
    }

    /// Tail are the classes of a `frequency` (share of annotated images) below `lambda`; the
    /// configured rule is not read. Prefer counts: frequencies round at the boundary.
    ///
    /// # Errors
    /// If `lambda` or a frequency is outside `[0, 1]`, or the prior is not between 0 and 1.
    pub fn init_with_frequency(
        &self,
        frequency: &[f64],
        lambda: f64,
        device: &Device,
    ) -> Result<EqualizationLoss, LossError> {
        check_frequencies(frequency)?;
        check_parameter("lambda", lambda, (0.0..=1.0).contains(&lambda), "in [0, 1]")?;
        let is_tail: Vec<bool> = frequency.iter().map(|&f| f < lambda).collect();
        self.init_with_tail(&is_tail, device)
    }
}

/// Sigmoid cross-entropy in which foreground rows of other classes do not push tail classes down.
///
/// `L = 1/R sum_rj w_rj BCE(logit_rj, y_rj)` with `w_rj = 1 - E(r) T(j) (1 - y_rj)`, where `E(r)`
/// is 1 on rows with a positive and `T(j)` is 1 for tail classes. Background rows keep pushing;
/// `R` counts them too. No column for background.
///
/// Source: Tan et al., CVPR 2020, <https://arxiv.org/abs/2003.05176>. As in the released code, the
/// paper's exception for classes confirmed absent from an image is left out; ignored rows, which
/// the released code counts in `R`, are not counted.
#[derive(Module, Debug)]
pub struct EqualizationLoss {
    negative_weights: Tensor<1>, // 1 - T(j), [num_classes]
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for EqualizationLoss {
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
            negative_weights: Some(self.negative_weights.clone()),
            negative_weight_rows: RowSet::Foreground,
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
