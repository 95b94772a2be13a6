//! Label-distribution-aware margin (LDAM): rare classes have to win by more.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::SoftmaxTerms;
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_softmax,
    class_weights::weight_table,
    error::check_parameter,
    layout::{Background, Layout},
    output::LossOutput,
    rows::{Rows, table},
};

/// Configuration of [`LdamLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdamConfig {
    /// Margin of the rarest class. Default: the authors' 0.5 (they suggest 0.3 for iNaturalist).
    pub max_margin: f64,
    /// Scale of the cosine logits. Default: the authors' 30.
    pub scale: f64,
}

impl Default for LdamConfig {
    fn default() -> Self {
        Self { max_margin: 0.5, scale: 30.0 }
    }
}

impl LdamConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::softmax("ldam", num_classes, Background::None)
    }

    /// Reads the instance counts; a class without an example counts as having one.
    ///
    /// # Errors
    /// If the margin is negative or the scale is not positive.
    pub fn init(&self, counts: &ClassCounts, device: &Device) -> Result<LdamLoss, LossError> {
        let is_valid = self.max_margin.is_finite() && self.max_margin >= 0.0;
        check_parameter("max_margin", self.max_margin, is_valid, "at least 0 and finite")?;
        let is_valid = self.scale.is_finite() && self.scale > 0.0;
        check_parameter("scale", self.scale, is_valid, "positive and finite")?;
        let counts: Vec<f64> = counts.instance_counts().iter().map(|&n| n.max(1) as f64).collect();
        let rarest = counts.iter().copied().fold(f64::INFINITY, f64::min);
        let margins = counts.iter().map(|count| self.max_margin * (rarest / count).powf(0.25));
        Ok(LdamLoss {
            margins: table(margins, device),
            class_weights: None,
            scale: self.scale as f32,
            layout: self.layout(counts.len()),
        })
    }
}

/// Softmax cross-entropy in which the label's logit is first lowered by a margin.
///
/// `L = 1/R sum_r -ln softmax(s (logits_r - m_{y_r} [j = y_r]))[y_r]` with
/// `m_j = max_margin (n_min / n_j)^(1/4)`. The logits should be cosines, from a classifier with
/// normalised weights and features; their scale `s` is part of the loss, so do not scale them
/// before. With deferred re-weighting (DRW) the loss is the weighted mean,
/// `sum_r w_y loss_r / sum_r w_y`; see
/// [`ClassificationLoss::reweighted`](crate::ClassificationLoss::reweighted).
///
/// Source: Cao et al., NeurIPS 2019, <https://arxiv.org/abs/1906.07413>.
#[derive(Module, Debug)]
pub struct LdamLoss {
    margins: Tensor<1>,               // m_j, [num_classes]
    class_weights: Option<Tensor<1>>, // [num_classes]
    scale: f32,
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for LdamLoss {
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
        let terms = SoftmaxTerms {
            margin: Some(self.margins.clone()),
            scale: self.scale,
            ..Default::default()
        };
        Ok(rows.softmax(terms, self.class_weights.as_ref(), reduction)?.into())
    }

    fn logit_scale(&self) -> f64 {
        self.scale.into()
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits * self.scale, &self.layout)
    }

    fn set_class_weights(&mut self, weights: &[f64], device: &Device) -> Result<(), LossError> {
        self.class_weights = Some(weight_table(weights, &self.layout, device)?);
        Ok(())
    }
}
