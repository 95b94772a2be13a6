//! Rows made safe for a kernel, and their reduction.

use burn::{
    module::Param,
    tensor::{Bool, Device, Int, Tensor},
};
use longtail_kernels::{Labels, SigmoidTerms, SoftmaxTerms, sigmoid_loss, softmax_loss};

use crate::{
    LossError, Reduction, RowLabels, error::check_parameter, layout::Layout, output::LossOutput,
};

/// A per-class table, on the plain device: it then meets tensors with and without autodiff.
pub(crate) fn table(values: impl IntoIterator<Item = f64>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    Tensor::from_floats(values.as_slice(), &device.clone().without_autodiff())
}

/// Statistics of a stateful loss: part of a module record, not trained.
pub(crate) fn statistic(values: Tensor<1>) -> Param<Tensor<1>> {
    Param::from_tensor(values.without_autodiff()).set_require_grad(false)
}

/// Rows whose shapes were checked. Ignored rows have label 0 and logits 0, so that neither a stray
/// label nor a NaN among them can reach the loss or the gradient.
pub(crate) struct Rows {
    pub(crate) logits: Tensor<2>,
    pub(crate) labels: Labels,
    pub(crate) ignore: Option<Tensor<1, Bool>>,
    is_invalid: Option<Tensor<1, Bool>>, // label out of range
}

impl Rows {
    pub(crate) fn new(
        logits: Tensor<2>,
        labels: RowLabels,
        layout: &Layout,
    ) -> Result<Self, LossError> {
        let [num_rows, num_columns] = logits.dims();
        layout.check_width(num_columns)?;
        check_rows("labels", labels.num_rows(), num_rows)?;
        if let Some(ignore) = &labels.ignore {
            check_rows("ignore mask", ignore.dims()[0], num_rows)?;
        }
        if let Labels::MultiLabel(targets) = &labels.labels {
            if !layout.multi_label {
                return Err(LossError::MultiLabel { method: layout.method });
            }
            let [_, found] = targets.dims();
            if found != layout.num_classes {
                return Err(LossError::TargetWidth { expected: layout.num_classes, found });
            }
        }
        if num_rows == 0 {
            return Ok(Self { logits, labels: labels.labels, ignore: None, is_invalid: None });
        }

        let RowLabels { mut labels, ignore } = labels;
        let mut logits = logits;
        if let Some(ignore) = &ignore {
            logits = logits.mask_fill(columns_of(ignore, num_columns), 0.0);
        }
        let mut is_invalid = None;
        labels = match labels {
            Labels::Classes(mut labels) => {
                if let Some(ignore) = &ignore {
                    labels = labels.mask_fill(ignore.clone(), 0);
                }
                let num_labels = layout.num_labels() as i64;
                let too_low = labels.clone().lower_scalar(0);
                is_invalid = Some(too_low.bool_or(labels.clone().greater_equal_scalar(num_labels)));
                Labels::Classes(labels.clamp(0, num_labels - 1))
            }
            Labels::MultiLabel(targets) => Labels::MultiLabel(match &ignore {
                Some(ignore) => targets.mask_fill(columns_of(ignore, layout.num_classes), 0.0),
                None => targets,
            }),
        };
        Ok(Self { logits, labels, ignore, is_invalid })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.logits.dims()[0] == 0
    }

    /// The class labels; softmax methods have no others.
    pub(crate) fn class_labels(&self) -> Option<Tensor<1, Int>> {
        match &self.labels {
            Labels::Classes(labels) => Some(labels.clone()),
            Labels::MultiLabel(_) => None,
        }
    }

    /// 1 where a row counts, 0 where it is ignored, `[rows]`.
    pub(crate) fn kept(&self) -> Option<Tensor<1>> {
        self.ignore.as_ref().map(|ignore| ignore.clone().bool_not().float())
    }

    /// Sigmoid loss of these rows.
    pub(crate) fn sigmoid(
        self,
        terms: SigmoidTerms,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        if self.is_empty() {
            return self.reduce_empty(reduction);
        }
        let loss = sigmoid_loss(self.logits.clone(), self.labels.clone(), terms);
        self.reduce(loss, None, reduction)
    }

    /// Softmax loss of these rows; `class_weights` holds one weight per label, for a weighted mean.
    pub(crate) fn softmax(
        self,
        mut terms: SoftmaxTerms,
        class_weights: Option<&Tensor<1>>,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        let Some(labels) = self.class_labels().filter(|_| !self.is_empty()) else {
            return self.reduce_empty(reduction);
        };
        terms.row_weights = class_weights.map(|table| table.clone().select(0, labels.clone()));
        let row_weights = terms.row_weights.clone();
        let loss = softmax_loss(self.logits.clone(), labels, terms);
        self.reduce(loss, row_weights, reduction)
    }

    /// Reduces the losses of the rows, `[rows]`; `row_weights` are already in them and replace the
    /// number of rows under the mean.
    pub(crate) fn reduce(
        &self,
        loss: Tensor<1>,
        row_weights: Option<Tensor<1>>,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        let [num_rows] = loss.dims();
        let mut loss = loss;
        if let Some(is_invalid) = &self.is_invalid {
            loss = loss.mask_fill(is_invalid.clone(), f32::NAN);
        }
        if let Some(ignore) = &self.ignore {
            loss = loss.mask_fill(ignore.clone(), 0.0);
        }
        Ok(match reduction {
            Reduction::None => loss,
            Reduction::Sum => loss.sum(),
            Reduction::Count(count) => loss.sum() / check_count(count)?,
            Reduction::Mean => match (row_weights, self.kept()) {
                (None, None) => loss.sum() / num_rows as f32,
                (None, Some(kept)) => loss.sum() / kept.sum().clamp_min(1.0),
                (Some(weights), None) => loss.sum() / weights.sum().clamp_min(1e-12),
                (Some(weights), Some(kept)) => loss.sum() / (weights * kept).sum().clamp_min(1e-12),
            },
        })
    }

    /// 0 with a gradient of no rows; `[0]` without reduction. The mean of nothing would be NaN.
    pub(crate) fn reduce_empty(self, reduction: Reduction) -> Result<Tensor<1>, LossError> {
        Ok(match reduction {
            Reduction::None => self.logits.sum_dim(1).squeeze_dim::<1>(1),
            Reduction::Count(count) => self.logits.sum() / check_count(count)?,
            Reduction::Sum | Reduction::Mean => self.logits.sum(),
        })
    }

    /// The output of a batch without rows.
    pub(crate) fn empty_output(self, reduction: Reduction) -> Result<LossOutput, LossError> {
        Ok(self.reduce_empty(reduction)?.into())
    }
}

/// A row mask over all columns, `[rows, num_columns]`.
fn columns_of(mask: &Tensor<1, Bool>, num_columns: usize) -> Tensor<2, Bool> {
    let [num_rows] = mask.dims();
    mask.clone().unsqueeze_dim::<2>(1).expand([num_rows, num_columns])
}

fn check_rows(what: &'static str, found: usize, expected: usize) -> Result<(), LossError> {
    if found == expected { Ok(()) } else { Err(LossError::RowCount { what, expected, found }) }
}

fn check_count(count: f64) -> Result<f32, LossError> {
    let is_valid = count.is_finite() && count > 0.0;
    check_parameter("the count to divide by", count, is_valid, "positive and finite")?;
    Ok(count as f32)
}
