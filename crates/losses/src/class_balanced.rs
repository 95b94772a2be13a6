//! Class-balanced loss: rows weighted by the effective number of examples of their class.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{Labels, SigmoidTerms, SoftmaxTerms};
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::{class_sigmoid, class_softmax},
    class_weights::{effective_number_weights, weight_table},
    error::check_parameter,
    layout::{Background, Layout},
    output::LossOutput,
    prior::bias_or_uniform,
    rows::{Rows, table},
};

/// The loss that is weighted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassBalancedForm {
    /// Softmax cross-entropy.
    #[default]
    Softmax,
    /// Sigmoid cross-entropy.
    Sigmoid,
    /// Sigmoid focal loss with this exponent, without `alpha`.
    Focal(f64),
}

/// Configuration of [`ClassBalancedLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassBalancedConfig {
    /// The loss that is weighted. Default: softmax.
    pub form: ClassBalancedForm,
    /// Closeness of the weights to `1 / n`. Default: 0.9999, the largest of the paper's four.
    pub beta: f64,
}

impl Default for ClassBalancedConfig {
    fn default() -> Self {
        Self { form: ClassBalancedForm::Softmax, beta: 0.9999 }
    }
}

impl ClassBalancedConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let method = "class-balanced";
        match self.form {
            ClassBalancedForm::Softmax => Layout::softmax(method, num_classes, Background::None),
            _ => Layout::sigmoid(method, num_classes, Background::NoColumn),
        }
    }

    /// Reads the instance counts; a class without an example counts as having one.
    ///
    /// # Errors
    /// If `beta` is outside `[0, 1)` or the focal exponent is negative.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<ClassBalancedLoss, LossError> {
        let num_classes = counts.num_classes();
        let layout = self.layout(num_classes);
        let weights = effective_number_weights(counts.instance_counts(), self.beta)?;
        let gamma = match self.form {
            ClassBalancedForm::Focal(gamma) => {
                let is_valid = gamma.is_finite() && gamma >= 0.0;
                check_parameter("gamma", gamma, is_valid, "at least 0 and finite")?;
                Some(table(vec![gamma; num_classes], device))
            }
            _ => None,
        };
        let prior_bias = match self.form {
            ClassBalancedForm::Softmax => None,
            _ => Some(bias_or_uniform(None, num_classes)?),
        };
        let weights = weight_table(&weights, &layout, device)?;
        Ok(ClassBalancedLoss { weights, gamma, prior_bias, layout })
    }
}

/// A loss whose rows weigh `(1 - beta) / (1 - beta^n)`, scaled to add up to the number of classes.
///
/// `L = 1/R sum_r w_{y_r} loss_r`: divided by the rows, not by their weights. In the sigmoid forms
/// the weight multiplies the whole row; background rows weigh 1, and a row of several labels weighs
/// the mean of theirs (ours). The last layer starts at `-ln(C - 1)` in the sigmoid forms.
///
/// Source: Cui et al., CVPR 2019, <https://arxiv.org/abs/1901.05555>.
#[derive(Module, Debug)]
pub struct ClassBalancedLoss {
    weights: Tensor<1>,       // [num_labels]
    gamma: Option<Tensor<1>>, // [num_classes]
    prior_bias: Option<f32>,
    #[module(skip)]
    layout: Layout,
}

impl ClassBalancedLoss {
    /// Weight of each row, `[rows]`.
    fn row_weights(&self, labels: &Labels) -> Tensor<1> {
        match labels {
            Labels::Classes(labels) => self.weights.clone().select(0, labels.clone()),
            Labels::MultiLabel(targets) => {
                let weights = self.weights.clone().narrow(0, 0, self.layout.num_classes());
                let num_positive = targets.clone().sum_dim(1); // [rows, 1]
                let sum = (targets.clone() * weights.unsqueeze()).sum_dim(1);
                let is_background = num_positive.clone().equal_elem(0.0);
                let mean = sum / num_positive.clamp_min(1.0);
                mean.mask_fill(is_background, 1.0).squeeze_dim(1)
            }
        }
    }
}

impl LossMethod for ClassBalancedLoss {
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
        let row_weights = Some(self.row_weights(&rows.labels));
        if self.layout.is_multi_label() {
            let focal_gamma = self.gamma.clone();
            let terms = SigmoidTerms { focal_gamma, row_weights, ..Default::default() };
            return Ok(rows.sigmoid(terms, reduction)?.into());
        }
        let terms = SoftmaxTerms { row_weights, ..Default::default() };
        Ok(rows.softmax(terms, None, reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        if self.layout.is_multi_label() {
            class_sigmoid(logits, &self.layout)
        } else {
            class_softmax(logits, &self.layout)
        }
    }

    fn prior_bias(&self) -> Option<f32> {
        self.prior_bias
    }
}
