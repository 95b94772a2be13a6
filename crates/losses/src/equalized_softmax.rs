//! Softmax-EQL of the later equalization paper: a prior made of gradients instead of counts.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use longtail_kernels::{Shift, SoftmaxTerms};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_softmax,
    error::check_parameter,
    layout::{Background, Layout},
    method::{foreign_unless, named_state},
    output::LossOutput,
    rows::{Rows, statistic, sum_by_label, table},
};

/// Smallest accumulated gradient in the factors; the authors'.
const LEAST_GRADIENT: f32 = 1e-4;
/// Added to the share of a class; the authors'.
const LEAST_SHARE: f32 = 1e-9;

/// What the gradients are turned into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EqualizedSoftmaxForm {
    /// The factors of the first version, `(g_j / g_y)^tau` with `g` at least 1e-4.
    #[default]
    Factor,
    /// The second version, `(g_j / sum g)^tau + 1e-9`.
    Share,
}

/// Configuration of [`EqualizedSoftmaxLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EqualizedSoftmaxConfig {
    /// Which version. Default: the first, `factor`.
    pub form: EqualizedSoftmaxForm,
    /// Exponent. Default: the authors' 1.
    pub tau: f64,
}

impl Default for EqualizedSoftmaxConfig {
    fn default() -> Self {
        Self { form: EqualizedSoftmaxForm::Factor, tau: 1.0 }
    }
}

impl EqualizedSoftmaxConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::softmax("equalized-softmax", num_classes, Background::None)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If `tau` is negative or not finite.
    pub fn init(
        &self,
        num_classes: usize,
        device: &Device,
    ) -> Result<EqualizedSoftmaxLoss, LossError> {
        let is_valid = self.tau.is_finite() && self.tau >= 0.0;
        check_parameter("tau", self.tau, is_valid, "at least 0 and finite")?;
        Ok(EqualizedSoftmaxLoss {
            positive: statistic(table(vec![0.0; num_classes], device)),
            form: self.form,
            tau: self.tau,
            layout: self.layout(num_classes),
        })
    }
}

/// Softmax cross-entropy of `logits + ln F`, where `F` grows with the gradients that the positives
/// of a class have received.
///
/// `F_rj = (g_j / g_y)^tau` for the row's label `y` (first version), or
/// `F_j = (g_j / sum_k g_k)^tau + 1e-9` (second). `g_j` adds up the absolute gradients of the mean loss at the label's logit,
/// `sum_{r: y = j} (1 - p_rj) / R`, over all batches before; `p` is the softmax that the loss sees.
/// In the first version `1 / g_y^tau` is the same for all of a row and drops out, so both are
/// Balanced Softmax with gradients for counts. Before any batch the loss is cross-entropy. At test
/// time the plain logits count.
///
/// For classification: no background. The authors use it with a classifier with normalised weights
/// and features, scaled by 30.
///
/// The paper calls it Softmax Equalization Loss, as another paper by the same authors calls SEQL,
/// which is [`SoftmaxEqualizationLoss`](crate::SoftmaxEqualizationLoss) and another loss.
/// Source: Tan et al., <https://arxiv.org/abs/2210.05566>. The gradients are computed in closed form
/// where the released code collects them by a hook; they are those of the mean whatever the
/// reduction, and positives alone: the code's other indicators are left out.
#[derive(Module, Debug)]
pub struct EqualizedSoftmaxLoss {
    positive: Param<Tensor<1>>, // g, [num_classes]
    #[module(skip)]
    form: EqualizedSoftmaxForm,
    tau: f64,
    #[module(skip)]
    layout: Layout,
}

impl EqualizedSoftmaxLoss {
    /// What is added to the logits, up to a constant, `[num_classes]`.
    fn shift(&self) -> Tensor<1> {
        let positive = self.positive.val().without_autodiff();
        match self.form {
            EqualizedSoftmaxForm::Factor => positive.clamp_min(LEAST_GRADIENT).log() * self.tau,
            EqualizedSoftmaxForm::Share => {
                let sum = positive.clone().sum().clamp_min(f32::MIN_POSITIVE);
                ((positive / sum).powf_scalar(self.tau) + LEAST_SHARE).log()
            }
        }
    }
}

impl LossMethod for EqualizedSoftmaxLoss {
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
        let Some(labels) = rows.class_labels().filter(|_| !rows.is_empty()) else {
            return rows.empty_output(reduction);
        };
        let [num_rows] = labels.dims();
        let kept = rows.kept();
        let terms =
            SoftmaxTerms { shift: Some(Shift::PerColumn(self.shift())), ..Default::default() };
        let (loss, of_rows) = rows.softmax_with_row_losses(labels.clone(), terms, reduction)?;
        // The loss is -ln p, and the gradient at the label's logit p - 1.
        let gradients = 1.0 - (-of_rows).exp();
        let sums = sum_by_label(labels, gradients, self.layout.num_classes());
        let positive = match kept {
            Some(kept) => sums / kept.without_autodiff().sum().clamp_min(1.0),
            None => sums / num_rows as f32,
        };
        Ok(LossOutput { loss, update: StatisticsUpdate::PositiveGradients(positive) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::PositiveGradients(positive) = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        self.positive = statistic(self.positive.val() + positive.without_autodiff());
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        vec![("positive".into(), self.positive.val())]
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let names = [("positive", self.layout.num_classes())];
        let [positive] = named_state(self.layout.method(), names, state)?;
        self.positive = statistic(positive);
        Ok(())
    }
}
