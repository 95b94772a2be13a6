//! Ranges of configured values.

use crate::error::ModelError;

/// Refuses 0.
pub(crate) fn check_positive(name: &'static str, value: usize) -> Result<(), ModelError> {
    match value {
        0 => Err(ModelError::InvalidValue { name, value: "0".into(), expected: "at least 1" }),
        _ => Ok(()),
    }
}

/// Refuses what is outside `[0, 1]`.
pub(crate) fn check_fraction(name: &'static str, value: f64) -> Result<(), ModelError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(ModelError::InvalidValue { name, value: value.to_string(), expected: "between 0 and 1" })
}

/// Refuses thresholds outside `0 <= low <= high <= 1`.
pub(crate) fn check_ious(name: &'static str, low: f32, high: f32) -> Result<(), ModelError> {
    if 0.0 <= low && low <= high && high <= 1.0 {
        return Ok(());
    }
    let value = format!("{low} below a positive IoU of {high}");
    Err(ModelError::InvalidValue { name, value, expected: "0 <= negative <= positive <= 1" })
}
