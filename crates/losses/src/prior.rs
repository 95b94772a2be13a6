//! Initial bias of a sigmoid classifier.

use crate::{LossError, error::check_parameter};

/// Bias at which every score starts at `prior`: `-ln((1 - prior) / prior)`.
pub(crate) fn bias_of(prior: f64) -> Result<f32, LossError> {
    check_parameter("prior", prior, prior > 0.0 && prior < 1.0, "between 0 and 1")?;
    Ok((prior / (1.0 - prior)).ln() as f32)
}

/// Bias of a prior that defaults to one over the number of classes: `-ln(C - 1)`.
pub(crate) fn bias_or_uniform(prior: Option<f64>, num_classes: usize) -> Result<f32, LossError> {
    bias_of(prior.unwrap_or(1.0 / num_classes.max(2) as f64))
}
