//! Rows made safe for a kernel, and their reduction.

use burn::{
    module::Param,
    tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData},
};
use longtail_kernels::{
    ColumnGroups, Labels, SigmoidTerms, SoftmaxTerms, grouped_softmax_loss, sigmoid_loss,
    sigmoid_loss_with_sums, softmax_loss,
};

use crate::{
    LossError, Reduction, RowLabels,
    error::check_parameter,
    layout::{Background, Layout},
    output::LossOutput,
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

/// Sums of the rows' values by label, outside autodiff: `[rows]` and `[rows]` to `[num_labels]`.
pub(crate) fn sum_by_label(
    labels: Tensor<1, Int>,
    values: Tensor<1>,
    num_labels: usize,
) -> Tensor<1> {
    let (labels, values) = (labels.without_autodiff(), values.without_autodiff());
    let sums = Tensor::<1>::zeros([num_labels], &values.device());
    sums.select_assign(0, labels, values, IndexingUpdateOp::Add)
}

/// Numbers of rows or columns on the device.
pub(crate) fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// Rows whose shapes were checked. Ignored rows have label 0 and, in a kernel, weight 0, so that
/// neither a stray label nor a NaN among them can reach the loss or the gradient.
pub(crate) struct Rows {
    pub(crate) logits: Tensor<2>,
    pub(crate) labels: Labels,
    ignore: Option<Tensor<1, Bool>>,
    is_invalid: Option<Tensor<1, Bool>>, // label out of range
    objectness: bool,
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
        let objectness = layout.background == Background::Objectness;
        let RowLabels { mut labels, ignore, .. } = labels;
        if num_rows == 0 {
            return Ok(Self { logits, labels, ignore: None, is_invalid: None, objectness });
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
                Some(ignore) => {
                    let ignore = ignore.clone().unsqueeze_dim::<2>(1);
                    targets.mask_fill(ignore.expand([num_rows, layout.num_classes]), 0.0)
                }
                None => targets,
            }),
        };
        Ok(Self { logits, labels, ignore, is_invalid, objectness })
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

    /// Sigmoid loss of these rows. Row weights in the terms are not under the mean.
    pub(crate) fn sigmoid(
        self,
        terms: SigmoidTerms,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        if self.is_empty() {
            return self.reduce_empty(reduction);
        }
        let (row_weights, factor) = self.weights(terms.row_weights, None, reduction)?;
        let terms = SigmoidTerms { row_weights, factor, ..terms };
        let losses = sigmoid_loss(self.logits, self.labels, terms);
        Ok(reduce(losses, self.is_invalid, reduction))
    }

    /// As [`sigmoid`](Self::sigmoid) where there is a row, and the sums of absolute gradients of
    /// each column, of positives and of negatives, over the rows that are not ignored.
    pub(crate) fn sigmoid_with_sums(
        self,
        terms: SigmoidTerms,
        reduction: Reduction,
    ) -> Result<(Tensor<1>, [Tensor<1>; 2]), LossError> {
        let (row_weights, factor) = self.weights(terms.row_weights, None, reduction)?;
        let terms = SigmoidTerms { row_weights, factor, ..terms };
        let output = sigmoid_loss_with_sums(self.logits, self.labels, terms);
        let loss = reduce(output.losses, self.is_invalid, reduction);
        Ok((loss, [output.positive_sums, output.negative_sums]))
    }

    /// As [`sigmoid_with_sums`](Self::sigmoid_with_sums), the sums being those of the reduced loss.
    pub(crate) fn sigmoid_with_reduced_sums(
        self,
        terms: SigmoidTerms,
        reduction: Reduction,
    ) -> Result<(Tensor<1>, [Tensor<1>; 2]), LossError> {
        let divisor = self.divisor(reduction)?;
        let (loss, sums) = self.sigmoid_with_sums(terms, reduction)?;
        Ok((loss, sums.map(|sums| sums / divisor.clone())))
    }

    /// What a sum over the rows is divided by under a reduction, `[1]`.
    pub(crate) fn divisor(&self, reduction: Reduction) -> Result<Tensor<1>, LossError> {
        let [num_rows, _] = self.logits.dims();
        let count = match (reduction, self.kept()) {
            (Reduction::None | Reduction::Sum, _) => 1.0,
            (Reduction::Count(count), _) => check_count(count)?,
            (Reduction::Mean, None) => num_rows.max(1) as f32,
            (Reduction::Mean, Some(kept)) => {
                return Ok(kept.without_autodiff().sum().clamp_min(1.0));
            }
        };
        Ok(Tensor::full([1], count, &self.logits.device().without_autodiff()))
    }

    /// Multi-label targets get a column for background: 1 on rows without a positive.
    pub(crate) fn add_background_target(&mut self) {
        if let Labels::MultiLabel(targets) = &self.labels {
            let background = 1.0 - targets.clone().max_dim(1); // [rows, 1]
            self.labels = Labels::MultiLabel(Tensor::cat(vec![targets.clone(), background], 1));
        }
    }

    /// Softmax loss of these rows, with objectness if the method has it. Row weights in the terms
    /// are not under the mean; `class_weights`, one per label, are: a weighted mean.
    pub(crate) fn softmax(
        self,
        terms: SoftmaxTerms,
        class_weights: Option<&Tensor<1>>,
        reduction: Reduction,
    ) -> Result<Tensor<1>, LossError> {
        let Some(labels) = self.class_labels().filter(|_| !self.is_empty()) else {
            return self.reduce_empty(reduction);
        };
        let of_class = class_weights.map(|table| table.clone().select(0, labels.clone()));
        let (row_weights, factor) = self.weights(terms.row_weights, of_class, reduction)?;
        let objectness = self.objectness;
        let terms = SoftmaxTerms { row_weights, factor, objectness, ..terms };
        let losses = softmax_loss(self.logits, labels, terms);
        Ok(reduce(losses, self.is_invalid, reduction))
    }

    /// As [`softmax`](Self::softmax) without weights, where there is a row, and the loss of each row
    /// before the reduction, outside autodiff; 0 for ignored rows.
    pub(crate) fn softmax_with_row_losses(
        self,
        labels: Tensor<1, Int>,
        terms: SoftmaxTerms,
        reduction: Reduction,
    ) -> Result<(Tensor<1>, Tensor<1>), LossError> {
        let (row_weights, factor) = self.weights(None, None, reduction)?;
        let count = match (reduction, self.kept()) {
            (Reduction::Mean, Some(kept)) => Some(kept.without_autodiff().sum().clamp_min(1.0)),
            _ => None,
        };
        let objectness = self.objectness;
        let terms = SoftmaxTerms { row_weights, factor, objectness, ..terms };
        let losses = softmax_loss(self.logits, labels, terms);
        let of_rows = losses.clone().without_autodiff() / factor;
        let of_rows = match count {
            Some(count) => of_rows * count,
            None => of_rows,
        };
        Ok((reduce(losses, self.is_invalid, reduction), of_rows))
    }

    /// Softmax loss of groups of columns, where there is a row; the weights `[groups, rows]` are
    /// those of the sum already.
    pub(crate) fn grouped_softmax(
        self,
        labels: Tensor<1, Int>,
        groups: ColumnGroups,
        weights: Tensor<2>,
        reduction: Reduction,
    ) -> Tensor<1> {
        let losses = grouped_softmax_loss(self.logits, labels, groups, weights);
        reduce(losses, self.is_invalid, reduction)
    }

    /// What the losses of the rows are multiplied by, so that their sum is the reduced loss: a
    /// weight per row, if they differ, and a factor.
    fn weights(
        &self,
        own: Option<Tensor<1>>,
        of_class: Option<Tensor<1>>,
        reduction: Reduction,
    ) -> Result<(Option<Tensor<1>>, f32), LossError> {
        let [num_rows, _] = self.logits.dims();
        // A mean of nothing is 0.
        let least = if of_class.is_some() { 1e-12 } else { 1.0 };
        let counted = product(of_class, self.kept());
        let weights = product(counted.clone(), own);
        Ok(match (reduction, counted) {
            (Reduction::None | Reduction::Sum, _) => (weights, 1.0),
            (Reduction::Count(count), _) => (weights, 1.0 / check_count(count)?),
            (Reduction::Mean, None) => (weights, 1.0 / num_rows as f32),
            (Reduction::Mean, Some(counted)) => {
                let count = counted.sum().clamp_min(least);
                (weights.map(|weights| weights / count), 1.0)
            }
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

fn product(a: Option<Tensor<1>>, b: Option<Tensor<1>>) -> Option<Tensor<1>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a * b),
        (a, b) => a.or(b),
    }
}

/// The losses of the rows, already weighted for their sum.
fn reduce(
    losses: Tensor<1>,
    is_invalid: Option<Tensor<1, Bool>>,
    reduction: Reduction,
) -> Tensor<1> {
    let losses = match is_invalid {
        None => losses,
        Some(is_invalid) => losses.mask_fill(is_invalid, f32::NAN),
    };
    if reduction == Reduction::None { losses } else { losses.sum() }
}

pub(crate) fn check_rows(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), LossError> {
    if found == expected { Ok(()) } else { Err(LossError::RowCount { what, expected, found }) }
}

pub(crate) fn check_count(count: f64) -> Result<f32, LossError> {
    let is_valid = count.is_finite() && count > 0.0;
    check_parameter("the count to divide by", count, is_valid, "positive and finite")?;
    Ok(count as f32)
}
