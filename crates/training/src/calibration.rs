//! Calibrated scores of a recipe.

use burn::tensor::Device;
use longtail_losses::{CalibrationConfig, ClassificationLoss, ScoreCalibration};
use longtail_types::ClassCounts;

use crate::error::TrainingError;

/// The calibration of a recipe, fitted to its loss and to the counts of its training set.
pub(crate) fn fitted(
    config: Option<&CalibrationConfig>,
    counts: &ClassCounts,
    loss: &ClassificationLoss,
    device: &Device,
) -> Result<Option<ScoreCalibration>, TrainingError> {
    Ok(config.map(|config| config.init(counts, loss, device)).transpose()?)
}
