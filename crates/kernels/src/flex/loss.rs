//! The fused losses on `flex` tensors.
#![allow(unsafe_code, reason = "one version per instruction set")]

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;
use rayon::prelude::*;

use super::error_counts::ErrorCounts;
use super::gradient_rows::GradientRows;
use super::loss_tables::{SigmoidTables, SoftmaxTables};
use super::parallel::Target;
use super::pool::Buffer;
use super::sigmoid_loss::SigmoidLoss;
use super::sigmoid_targets::Targets;
use super::simd::multiversion;
use super::softmax_loss::SoftmaxLoss;
use super::tensor::{contiguous, values};
use crate::loss_backend::{LossBackend, LossInputs, SigmoidConfig, SoftmaxConfig};

/// A label that is not a column.
pub(super) const NONE: u32 = u32::MAX;
/// Logits per task, about.
const BLOCK: usize = 16 << 10;
/// Logits that one thread is done with before another wakes up.
const FEW: usize = 48 << 10;

/// The rows of a loss.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `[num_rows, num_columns]`; read only, and each row before its gradient is written, which may
    /// go to the same place.
    pub(super) logits: Target,
    pub(super) num_rows: usize,
    pub(super) num_columns: usize,
    pub(super) weights: Option<&'a [f32]>,
    pub(super) factor: f32,
}

impl Rows<'_> {
    /// Rows per task. It depends on the shape alone.
    pub(super) fn block(&self) -> usize {
        block([self.num_rows, self.num_columns])
    }

    /// What multiplies the loss of a row; nothing if the row is left out.
    #[inline(always)]
    pub(super) fn factor(&self, row: usize) -> Option<f32> {
        let weight = self.weights.map_or(1.0, |weights| weights[row]);
        (weight != 0.0).then_some(weight * self.factor)
    }
}

/// Rows per task: all of a few, else about [`BLOCK`] logits, in a multiple of four tasks.
pub(super) fn block([num_rows, num_columns]: [usize; 2]) -> usize {
    let num_columns = num_columns.max(1);
    if num_rows * num_columns <= FEW {
        return num_rows.max(1);
    }
    let num_tasks = num_rows.div_ceil((BLOCK / num_columns).max(1)).next_multiple_of(4);
    num_rows.div_ceil(num_tasks)
}

/// Labels as columns; whatever is none of `0..=num_columns` becomes [`NONE`].
pub(super) fn columns(labels: &[f32], num_columns: usize) -> Vec<u32> {
    let column = |&label: &f32| {
        if (0.0..=num_columns as f32).contains(&label) { label as u32 } else { NONE }
    };
    labels.iter().map(column).collect()
}

fn targets<'a>(
    config: &SigmoidConfig,
    labels: &'a [u32],
    entries: &'a [f32],
    num_columns: usize,
) -> Targets<'a> {
    let num_classes = num_columns - usize::from(config.has_background_column);
    if config.is_multi_label {
        Targets::MultiLabel { targets: entries, num_classes }
    } else {
        Targets::Classes { labels, num_classes }
    }
}

/// Losses and gradient of the rows: into fresh memory, or the gradient over the logits where nobody
/// else holds them. `task` gets the logits, the losses and the gradient.
pub(super) fn pass<R>(
    logits: FlexTensor,
    is_tracked: bool,
    task: impl FnOnce(Target, Target, Option<GradientRows>) -> R,
) -> (FlexTensor, FlexTensor, R) {
    let mut logits = contiguous(logits);
    let shape = logits.shape();
    let [num_rows, num_columns] = shape.dims::<2>();
    let mut losses = Buffer::new(num_rows);
    let of_rows = Target::new(losses.as_mut_slice());
    let (gradient, result) = if !is_tracked {
        (nothing(), task(Target::reading(values(&logits)), of_rows, None))
    } else if let Some(values) = logits.try_storage_mut::<f32>() {
        let target = Target::new(values);
        let gradient = GradientRows::over_logits(target, num_columns);
        let result = task(target, of_rows, Some(gradient));
        (logits, result)
    } else {
        let mut gradient = Buffer::new(shape.num_elements());
        let target = Target::new(gradient.as_mut_slice());
        let rows = GradientRows::fresh(target, num_columns);
        let result = task(Target::reading(values(&logits)), of_rows, Some(rows));
        (gradient.into_tensor(shape), result)
    };
    (losses.into_tensor(Shape::new([num_rows])), gradient, result)
}

fn nothing() -> FlexTensor {
    Buffer::zeros(1).into_tensor(Shape::new([1]))
}

multiversion! {
    fn scale(values: &mut [f32], factor: f32) {
        for value in values {
            *value *= factor;
        }
    }
}

/// Multiplies every row by its factor; nothing is done where all are 1.
pub(super) fn scale_rows(gradient: FlexTensor, factors: FlexTensor) -> FlexTensor {
    let factors = contiguous(factors);
    let factors = values(&factors);
    if factors.iter().all(|&factor| factor == 1.0) {
        return gradient;
    }
    let mut gradient = gradient;
    let [_, num_columns] = gradient.shape().dims::<2>();
    let rows = gradient.storage_mut::<f32>().par_chunks_mut(num_columns.max(1));
    rows.with_min_len((BLOCK / num_columns.max(1)).max(1))
        .zip(factors)
        .for_each(|(row, &factor)| scale(row, factor));
    gradient
}

impl LossBackend for Flex {
    fn fused_sigmoid_loss(
        logits: FlexTensor,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [num_rows, num_columns] = logits.shape().dims::<2>();
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let [labels, tables, entries, row_weights, bins] =
            [labels, tables, entries, row_weights, bins].map(contiguous);
        let tables = SigmoidTables::new(&config, values(&tables), values(&bins), num_columns);
        let labels = columns(values(&labels), num_columns);
        let targets = targets(&config, &labels, values(&entries), num_columns);
        let weights = config.has_row_weights.then(|| values(&row_weights));
        let (losses, gradient, sums) =
            pass(logits, config.is_tracked, |logits, losses, gradient| {
                let rows = Rows { logits, num_rows, num_columns, weights, factor: config.factor };
                let loss = SigmoidLoss { rows, targets, tables: &tables, losses, gradient };
                loss.run(config.has_sums)
            });
        let sums = sums.map(|sums| sums.into_tensor(Shape::new([2, num_columns])));
        (losses, sums.unwrap_or_else(nothing), gradient)
    }

    fn fused_sigmoid_loss_backward(
        saved: FlexTensor,
        _inputs: LossInputs<Self>,
        gradient: FlexTensor,
        _config: SigmoidConfig,
    ) -> FlexTensor {
        scale_rows(saved, gradient)
    }

    fn sigmoid_error_counts(
        logits: FlexTensor,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> FlexTensor {
        let [num_rows, num_columns] = logits.shape().dims::<2>();
        let LossInputs { labels, entries, row_weights, .. } = inputs;
        let [logits, labels, entries, row_weights] =
            [logits, labels, entries, row_weights].map(contiguous);
        let labels = columns(values(&labels), num_columns);
        let targets = targets(&config, &labels, values(&entries), num_columns);
        let weights = config.has_row_weights.then(|| values(&row_weights));
        let logits = Target::reading(values(&logits));
        let rows = Rows { logits, num_rows, num_columns, weights, factor: 1.0 };
        let num_bins = config.num_bins;
        let counts = ErrorCounts { rows, targets, num_bins }.run();
        let mut buffer = Buffer::new(num_bins);
        buffer.as_mut_slice().copy_from_slice(&counts);
        buffer.into_tensor(Shape::new([num_bins]))
    }

    fn fused_softmax_loss(
        logits: FlexTensor,
        inputs: LossInputs<Self>,
        config: SoftmaxConfig,
    ) -> (FlexTensor, FlexTensor) {
        let [num_rows, num_columns] = logits.shape().dims::<2>();
        let LossInputs { labels, tables, entries, row_weights, .. } = inputs;
        let [labels, tables, entries, row_weights] =
            [labels, tables, entries, row_weights].map(contiguous);
        let num_classes = num_columns - if config.has_objectness { 2 } else { 0 };
        let tables = SoftmaxTables::new(&config, values(&tables), num_classes);
        let labels = columns(values(&labels), num_classes);
        let weights = config.has_row_weights.then(|| values(&row_weights));
        let (losses, gradient, ()) = pass(logits, config.is_tracked, |logits, losses, gradient| {
            let rows = Rows { logits, num_rows, num_columns, weights, factor: config.factor };
            let entries = values(&entries);
            let loss = SoftmaxLoss {
                rows,
                num_classes,
                labels: &labels,
                tables: &tables,
                entries,
                config,
                losses,
                gradient,
            };
            loss.run();
        });
        (losses, gradient)
    }

    fn fused_softmax_loss_backward(
        saved: FlexTensor,
        _inputs: LossInputs<Self>,
        gradient: FlexTensor,
        _config: SoftmaxConfig,
    ) -> FlexTensor {
        scale_rows(saved, gradient)
    }
}
