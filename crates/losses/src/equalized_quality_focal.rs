//! Equalized Quality Focal Loss (EQFL): EFL whose positives should score as well as their box fits.

use burn::{
    module::Module,
    tensor::{
        Device, Int, Tensor,
        activation::{log_sigmoid, sigmoid},
    },
};
use longtail_kernels::{Labels, SigmoidTerms};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_sigmoid,
    equalized_focal::{check_focusing, focusing},
    gradient_balance::GradientBalance,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, check_rows, sum_by_label},
};

/// Configuration of [`EqualizedQualityFocalLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EqualizedQualityFocalConfig {
    /// Focusing exponent of a class in balance. Default: 2, that of Quality Focal Loss and of EFL.
    pub gamma: f64,
    /// What is added to the exponent of a class without any positive gradient. Default: EFL's 8.
    pub scale: f64,
    /// Score that every class starts with. Default: EFL's 0.001; for few classes one over their
    /// number trains faster.
    pub prior: f64,
}

impl Default for EqualizedQualityFocalConfig {
    fn default() -> Self {
        Self { gamma: 2.0, scale: 8.0, prior: 0.001 }
    }
}

impl EqualizedQualityFocalConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("eqfl", num_classes, Background::NoColumn)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(
        &self,
        num_classes: usize,
        device: &Device,
    ) -> Result<EqualizedQualityFocalLoss, LossError> {
        check_focusing(self.gamma, self.scale)?;
        Ok(EqualizedQualityFocalLoss {
            balance: GradientBalance::new(num_classes, device),
            gamma: self.gamma,
            scale: self.scale,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(num_classes),
        })
    }
}

/// Quality Focal Loss with the exponents and weights of Equalized Focal Loss.
///
/// `L = 1/M sum_rj (gamma_j / gamma_b) |y_rj - p_rj|^{gamma_j} BCE(p_rj, y_rj)`, where `y` is the
/// quality of the row, such as the overlap of its box with the object
/// ([`RowLabels::qualities`]), at the label and 0 elsewhere. Exponents, weights and statistics are
/// those of [`EqualizedFocalLoss`](crate::EqualizedFocalLoss). Rows without a quality have 1, which
/// makes it EFL without `alpha`.
///
/// Our composition: the paper of EFL, Li et al., CVPR 2022, <https://arxiv.org/abs/2201.02593>,
/// names the method; the formula puts its exponents and weights into Quality Focal Loss, Li et al.,
/// NeurIPS 2020, <https://arxiv.org/abs/2006.04388>. It has not been compared with released code.
#[derive(Module, Debug)]
pub struct EqualizedQualityFocalLoss {
    balance: GradientBalance,
    gamma: f64,
    scale: f64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

/// The entries at the labels.
struct Positives {
    /// `[rows]`, tracked; 0 on background rows.
    losses: Tensor<1>,
    /// Absolute gradients, `[rows]`.
    gradients: Tensor<1>,
}

impl EqualizedQualityFocalLoss {
    /// Losses and gradients of the entries at the labels, in closed form; `logits` is `[rows]`, and
    /// so are the exponents and weights of the label.
    fn positives(
        logits: Tensor<1>,
        qualities: Tensor<1>,
        (exponents, weights): (Tensor<1>, Tensor<1>),
    ) -> Positives {
        let plain = logits.clone().without_autodiff();
        let (score, miss) = (sigmoid(plain.clone()), sigmoid(-plain.clone()));
        // p - y, without losing the digits of 1 - p at y = 1.
        let difference: Tensor<1> = (1.0 - qualities.clone()) - miss.clone();
        let entropy: Tensor<1> = -(log_sigmoid(plain.clone()) * qualities.clone()
            + log_sigmoid(-plain) * (-qualities.clone() + 1.0));
        let size = difference.clone().abs().clamp_min(1e-30);
        let power = size.clone().powf(exponents.clone());
        let through_power =
            exponents * power.clone() / size * difference.clone().sign() * score * miss;
        let slopes =
            (through_power * entropy.clone() + power.clone() * difference) * weights.clone();
        let value = weights * power * entropy;
        // 0 with the gradient of the closed form, and the value.
        let losses = (logits.clone() - logits.detach()) * slopes.clone() + value;
        Positives { losses, gradients: slopes.abs() }
    }

    /// Loss, and sums of absolute gradients, with a quality for each row.
    fn with_qualities(
        &self,
        rows: Rows,
        labels: Tensor<1, Int>,
        qualities: Tensor<1>,
        reduction: Reduction,
    ) -> Result<(Tensor<1>, [Tensor<1>; 2]), LossError> {
        let num_classes = self.layout.num_classes();
        let (labels, qualities) = (labels.without_autodiff(), qualities.without_autodiff());
        let divisor = rows.divisor(reduction)?;
        let is_positive = labels.clone().lower_scalar(num_classes as i64).float();
        let counted = match rows.kept() {
            Some(kept) => is_positive * kept.without_autodiff(),
            None => is_positive,
        };
        let is_left_out = counted.clone().equal_elem(0.0);
        let column = labels.clone().clamp(0, num_classes as i64 - 1);
        let logits = rows.logits.clone().gather(1, column.clone().unsqueeze_dim(1));
        let logits = logits.squeeze_dim::<1>(1).mask_fill(is_left_out.clone(), 0.0);
        let qualities = qualities.mask_fill(is_left_out, 1.0);
        let (exponents, weights) = focusing(self.balance.ratio(), self.gamma, self.scale);
        let of_label = |table: &Tensor<1>| table.clone().select(0, column.clone());
        let tables = (of_label(&exponents), of_label(&weights) * counted);
        let Positives { losses, gradients } = Self::positives(logits, qualities, tables);
        let losses = losses / divisor.clone();
        let positives = sum_by_label(labels, gradients, num_classes + 1);
        let positives = positives.narrow(0, 0, num_classes) / divisor;

        let terms = SigmoidTerms {
            positive_weights: Some(weights.zeros_like()),
            negative_weights: Some(weights),
            focal_gamma: Some(exponents),
            ..Default::default()
        };
        let (negatives, [_, sums]) = rows.sigmoid_with_reduced_sums(terms, reduction)?;
        let losses = if reduction == Reduction::None { losses } else { losses.sum() };
        Ok((negatives + losses, [positives, sums]))
    }
}

impl LossMethod for EqualizedQualityFocalLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let qualities = labels.qualities.clone();
        if let Some(qualities) = &qualities {
            check_rows("qualities", qualities.dims()[0], logits.dims()[0])?;
            if matches!(labels.labels, Labels::MultiLabel(_)) {
                return Err(LossError::QualityOfSeveralLabels);
            }
        }
        let rows = Rows::new(logits, labels, &self.layout)?;
        if rows.is_empty() {
            return rows.empty_output(reduction);
        }
        let (loss, [positive, negative]) = match (qualities, rows.class_labels()) {
            (Some(qualities), Some(labels)) => {
                self.with_qualities(rows, labels, qualities, reduction)?
            }
            _ => {
                let (exponents, weights) = focusing(self.balance.ratio(), self.gamma, self.scale);
                let terms = SigmoidTerms {
                    positive_weights: Some(weights.clone()),
                    negative_weights: Some(weights),
                    focal_gamma: Some(exponents),
                    ..Default::default()
                };
                rows.sigmoid_with_reduced_sums(terms, reduction)?
            }
        };
        Ok(LossOutput { loss, update: StatisticsUpdate::LossGradients { positive, negative } })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }

    fn wants_qualities(&self) -> bool {
        true
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
