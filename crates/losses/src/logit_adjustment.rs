//! Logit adjustment: the log prior, scaled, in the loss or after training.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{Shift, SoftmaxTerms};
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

/// Where the prior goes. One or the other: together they would correct twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogitAdjustmentForm {
    /// Added to the logits in the loss; the plain logits count at test time.
    #[default]
    Loss,
    /// Plain cross-entropy in training; subtracted from the logits at test time.
    PostHoc,
}

/// Configuration of [`LogitAdjustmentLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogitAdjustmentConfig {
    /// Where the prior goes. Default: into the loss.
    pub form: LogitAdjustmentForm,
    /// Strength. Default: the authors' 1, at which the loss is Balanced Softmax.
    pub tau: f64,
}

impl Default for LogitAdjustmentConfig {
    fn default() -> Self {
        Self { form: LogitAdjustmentForm::Loss, tau: 1.0 }
    }
}

impl LogitAdjustmentConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::softmax("logit-adjustment", num_classes, Background::None)
    }

    /// Reads the instance counts. A class without an example counts as having one, where the
    /// authors add 1e-12 to the prior.
    ///
    /// # Errors
    /// If `tau` is negative or not finite.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<LogitAdjustmentLoss, LossError> {
        let is_valid = self.tau.is_finite() && self.tau >= 0.0;
        check_parameter("tau", self.tau, is_valid, "at least 0 and finite")?;
        let counts = counts.instance_counts().iter().map(|&n| n.max(1) as f64);
        let total: f64 = counts.clone().sum();
        let num_classes = counts.len();
        Ok(LogitAdjustmentLoss {
            shift: table(counts.map(|count| self.tau * (count / total).ln()), device),
            class_weights: None,
            form: self.form,
            layout: self.layout(num_classes),
        })
    }
}

/// Softmax cross-entropy of `logits + tau ln pi` with the training prior `pi_j = n_j / N`, or plain
/// cross-entropy whose scores are `softmax(logits - tau ln pi)`.
///
/// `L = 1/R sum_r -ln softmax(logits_r + tau ln pi)[y_r]`.
///
/// Source: Menon et al., ICLR 2021, <https://arxiv.org/abs/2007.07314>.
#[derive(Module, Debug)]
pub struct LogitAdjustmentLoss {
    shift: Tensor<1>,                 // tau ln pi, [num_classes]
    class_weights: Option<Tensor<1>>, // [num_classes]
    #[module(skip)]
    form: LogitAdjustmentForm,
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for LogitAdjustmentLoss {
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
        let shift = match self.form {
            LogitAdjustmentForm::Loss => Some(Shift::PerColumn(self.shift.clone())),
            LogitAdjustmentForm::PostHoc => None,
        };
        let terms = SoftmaxTerms { shift, ..Default::default() };
        Ok(rows.softmax(terms, self.class_weights.as_ref(), reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.layout.check_width(logits.dims()[1])?;
        let logits = match self.form {
            LogitAdjustmentForm::Loss => logits,
            LogitAdjustmentForm::PostHoc => logits - self.shift.clone().unsqueeze(),
        };
        class_softmax(logits, &self.layout)
    }

    fn set_class_weights(&mut self, weights: &[f64], device: &Device) -> Result<(), LossError> {
        self.class_weights = Some(weight_table(weights, &self.layout, device)?);
        Ok(())
    }
}
