//! The exponent of tau-normalisation, chosen on images that were not trained on.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use longtail_kernels::read_back;
use longtail_models::ClassifierHead;
use serde::Serialize;

use super::features::extract;
use super::post_hoc::{TauGrid, TauSource};
use super::start::Base;
use crate::error::TrainingError;
use crate::recipe_file::refuse;

/// What was tried, and what was chosen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TauChoice {
    /// The exponent.
    pub(super) tau: f64,
    /// Which images chose it.
    on: TauSource,
    /// How many images.
    num_images: usize,
    /// Each exponent with the mean accuracy over the classes that have images.
    tried: Vec<(f64, f64)>,
}

/// The exponent with the highest mean accuracy over classes; of equal ones the smallest.
pub(super) fn choose(base: &Base, grid: &TauGrid) -> Result<TauChoice, TrainingError> {
    let set = match grid.on {
        TauSource::Test => Arc::new(base.test.clone()),
        TauSource::Validation => base.validation.clone().ok_or_else(|| {
            let problem = "is to be chosen on validation images, but there is no \
                           `dataset.validation`; name some, or give `tau = { fixed = .. }`";
            refuse("stage_two.tau", problem)
        })?,
    };
    let model = base.trained.model();
    let pipeline = base.recipe.transforms.test_pipeline()?;
    let values = extract(model, &set, pipeline, ("stage_two.tau", 1), &base.recipe)?;
    let shape = [set.len(), model.num_features()];
    let device = base.device.clone().without_autodiff();
    let rows = Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let accuracy = |&tau: &f64| -> Result<(f64, f64), TrainingError> {
        let head = model.head.tau_normalized(tau)?;
        Ok((tau, class_accuracy(&head, rows.clone(), set.labels())?))
    };
    let tried = grid.values.iter().map(accuracy).collect::<Result<Vec<_>, _>>()?;
    let best = tried.iter().copied().reduce(|best, next| {
        let is_better = next.1 > best.1 || (next.1 == best.1 && next.0 < best.0);
        if is_better { next } else { best }
    });
    let tau = best.map_or(0.0, |(tau, _)| tau); // the grid is not empty
    Ok(TauChoice { tau, on: grid.on, num_images: set.len(), tried })
}

/// Mean accuracy over the classes that have images.
fn class_accuracy(
    head: &ClassifierHead,
    rows: Tensor<2>,
    labels: &[usize],
) -> Result<f64, TrainingError> {
    let found = read_back(head.forward(rows).argmax(1))?;
    let mut classes = vec![(0_u64, 0_u64); head.num_logits()];
    for (found, &label) in found.iter::<i64>().zip(labels) {
        let (hits, images) = &mut classes[label];
        *hits += u64::from(found == label as i64);
        *images += 1;
    }
    let shares = classes.iter().filter(|(_, images)| *images > 0);
    let shares: Vec<f64> = shares.map(|(hits, images)| *hits as f64 / *images as f64).collect();
    Ok(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}
