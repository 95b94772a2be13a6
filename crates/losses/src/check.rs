//! A check that reads back.

use burn::tensor::Tensor;
use longtail_kernels::{Labels, read_back, read_floats};

use crate::{LossError, RowLabels};

/// Reads logits and labels back to the host and names the first bad one.
///
/// For debugging and for a look every so many steps: `forward` itself never reads back, and shows a
/// bad label or logit only as a NaN loss. Ignored rows may hold anything.
///
/// # Errors
/// If a logit is not finite, a label is outside `0..num_labels`, or a target is neither 0 nor 1,
/// or the device fails.
pub fn check(logits: &Tensor<2>, labels: &RowLabels, num_labels: usize) -> Result<(), LossError> {
    let ignore = labels.ignore.clone().map(read_back).transpose()?;
    let ignore: Option<Vec<bool>> = ignore.map(|mask| mask.iter::<bool>().collect());
    let is_ignored =
        |row: usize| ignore.as_ref().is_some_and(|mask| mask.get(row).copied() == Some(true));

    match &labels.labels {
        Labels::Classes(labels) => {
            for (row, label) in read_back(labels.clone())?.iter::<i64>().enumerate() {
                if !is_ignored(row) && !(0..num_labels as i64).contains(&label) {
                    return Err(LossError::LabelOutOfRange { row, label, num_labels });
                }
            }
        }
        Labels::MultiLabel(targets) => {
            let bad = first_bad(targets, is_ignored, |value| value == 0.0 || value == 1.0)?;
            if let Some((row, column, value)) = bad {
                return Err(LossError::TargetNotBinary { row, column, value });
            }
        }
    }
    match first_bad(logits, is_ignored, f32::is_finite)? {
        Some((row, column, value)) => Err(LossError::LogitNotFinite { row, column, value }),
        None => Ok(()),
    }
}

fn first_bad(
    tensor: &Tensor<2>,
    is_ignored: impl Fn(usize) -> bool,
    is_good: impl Fn(f32) -> bool,
) -> Result<Option<(usize, usize, f32)>, LossError> {
    let [_, num_columns] = tensor.dims();
    let values = read_floats(tensor.clone())?;
    let mut entries = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (index / num_columns, index % num_columns, value));
    Ok(entries.find(|&(row, _, value)| !is_good(value) && !is_ignored(row)))
}
