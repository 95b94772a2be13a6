//! Balanced Sigmoid: each class's prior log-odds go into its sigmoid, not into the model.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{RowSet, SigmoidTerms};
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_sigmoid,
    error::check_frequencies,
    layout::{Background, Layout},
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, table},
};

const METHOD: &str = "balanced-sigmoid";

/// Which of the two published forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalancedSigmoidForm {
    /// `ln(f / (1 - f)) + ln(C - 1)` on every row, with the share of instances `f_j = n_j / N`:
    /// the training prior is `f`, the test prior `1 / C`.
    #[default]
    Exact,
    /// As in the authors' released detector: `ln(f / (1 - f))` on foreground rows only, with the
    /// image frequency `f`; the constant `ln(C - 1)` is dropped.
    Released,
}

/// Configuration of [`BalancedSigmoidLoss`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancedSigmoidConfig {
    /// The form. Default: exact.
    pub form: BalancedSigmoidForm,
    /// Score that every class starts with. Default: one over the number of classes in the exact
    /// form (its test prior), the authors' 0.001 in the released one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<f64>,
}

impl BalancedSigmoidConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid(METHOD, num_classes, Background::NoColumn)
    }

    /// Exact form: reads the instance counts; a class without an example counts as having one.
    /// Released form: reads the image counts and the number of annotated images; a class in no
    /// image counts as in one, a class in every image as missing from one.
    ///
    /// # Errors
    /// If there are fewer than 2 classes (exact form) or 2 images (released form), or the prior is
    /// not between 0 and 1.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<BalancedSigmoidLoss, LossError> {
        let frequency: Vec<f64> = match self.form {
            BalancedSigmoidForm::Exact => {
                let counts = counts.instance_counts().iter().map(|&n| n.max(1) as f64);
                let total: f64 = counts.clone().sum();
                counts.map(|count| count / total).collect()
            }
            BalancedSigmoidForm::Released => {
                let images = counts.num_images().max(2);
                let clamped = counts.image_counts().iter().map(|&n| n.clamp(1, images - 1));
                clamped.map(|count| count as f64 / images as f64).collect()
            }
        };
        self.init_with_frequency(&frequency, device)
    }

    /// Takes the frequencies as they are.
    ///
    /// # Errors
    /// If a frequency is outside `[0, 1]`, or 0 or 1, where the shift would be infinite; if the
    /// exact form has fewer than 2 classes; if the prior is not between 0 and 1.
    pub fn init_with_frequency(
        &self,
        frequency: &[f64],
        device: &Device,
    ) -> Result<BalancedSigmoidLoss, LossError> {
        let num_classes = frequency.len();
        check_frequencies(frequency)?;
        let (constant, default_prior) = match self.form {
            BalancedSigmoidForm::Exact if num_classes < 2 => {
                let (needed, found) = (2, num_classes);
                return Err(LossError::TooFewClasses { method: METHOD, needed, found });
            }
            BalancedSigmoidForm::Exact => {
                ((num_classes as f64 - 1.0).ln(), 1.0 / num_classes as f64)
            }
            BalancedSigmoidForm::Released => (0.0, 0.001),
        };
        if let Some(class) = frequency.iter().position(|&f| f == 0.0 || f == 1.0) {
            return Err(LossError::InfinitePrior { class, value: frequency[class] });
        }
        let shift = frequency.iter().map(|f| (f / (1.0 - f)).ln() + constant);
        Ok(BalancedSigmoidLoss {
            shift: table(shift, device),
            prior_bias: bias_of(self.prior.unwrap_or(default_prior))?,
            form: self.form,
            layout: self.layout(num_classes),
        })
    }
}

/// Sigmoid cross-entropy of `logits + shift`, the log-odds of the training prior over those of the
/// test prior; at test time the plain logits count.
///
/// `L = 1/R sum_rj BCE(logit_rj + shift_j, y_rj)`; in the released form background rows are not
/// shifted. No column for background.
///
/// Source: Balanced Activation, <https://arxiv.org/abs/2008.11037>; Ren et al., NeurIPS 2020,
/// <https://arxiv.org/abs/2007.10740>.
#[derive(Module, Debug)]
pub struct BalancedSigmoidLoss {
    shift: Tensor<1>, // [num_classes]
    prior_bias: f32,
    #[module(skip)]
    form: BalancedSigmoidForm,
    #[module(skip)]
    layout: Layout,
}

impl BalancedSigmoidLoss {
    /// What is added to the logits in training, `[num_classes]`.
    pub fn shift(&self) -> Tensor<1> {
        self.shift.clone()
    }
}

impl LossMethod for BalancedSigmoidLoss {
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
        let shift_rows = match self.form {
            BalancedSigmoidForm::Exact => RowSet::All,
            BalancedSigmoidForm::Released => RowSet::Foreground,
        };
        let shift = Some(self.shift.clone());
        let terms = SigmoidTerms { shift, shift_rows, ..Default::default() };
        Ok(rows.sigmoid(terms, reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }
}
