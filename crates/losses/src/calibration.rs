//! Corrections of the scores of a trained model, without training.

use burn::tensor::{Device, Tensor};
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    ClassificationLoss, LossError,
    error::{check_length, check_parameter},
    rows::table,
};

/// Subtracts the log prior from the logits: settings of [`CalibrationConfig::LogitAdjustment`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogitAdjustmentCalibration {
    /// Strength. Default: the authors' 1.
    pub tau: f64,
}

impl Default for LogitAdjustmentCalibration {
    fn default() -> Self {
        Self { tau: 1.0 }
    }
}

/// Divides by a power of the counts: settings of [`CalibrationConfig::NorCal`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NorCalCalibration {
    /// Exponent of the counts; 0 changes nothing. Default: 0.5, which is ours, to begin with: choose
    /// it on images that are not the test set, as the authors do on training images.
    pub gamma: f64,
}

impl Default for NorCalCalibration {
    fn default() -> Self {
        Self { gamma: 0.5 }
    }
}

/// A correction of the scores for the class prior of the training set; `calibration.method =
/// "norcal"` in a recipe. Unknown keys are errors.
///
/// For softmax losses over all classes: sigmoid losses have no prior of this kind, and groups
/// (`bags`) have a softmax each. A loss that corrects for the prior itself, such as Balanced
/// Softmax, is corrected twice then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CalibrationConfig {
    /// `p_j` proportional to `e^{z_j} / (n_j / mean n)^tau`. A background column keeps its logit, so
    /// that it competes with the average class as before.
    ///
    /// Source: Menon et al., ICLR 2021, <https://arxiv.org/abs/2007.07314>, for classification;
    /// background is ours.
    LogitAdjustment(LogitAdjustmentCalibration),
    /// NorCal: `p_j` proportional to `e^{z_j} / n_j^gamma`, background to `e^{z_bg}`. Beside
    /// background every class loses, a frequent one more; without background it is logit adjustment
    /// with `tau = gamma`. A detector's score threshold has to come down with it.
    ///
    /// Source: Pan et al., NeurIPS 2021, <https://arxiv.org/abs/2107.02170>; `n` are instance
    /// counts here.
    #[serde(rename = "norcal")]
    NorCal(NorCalCalibration),
}

impl CalibrationConfig {
    /// Reads the instance counts; a class without an example counts as having one.
    ///
    /// # Errors
    /// If the strength is negative or not finite, the counts are of another number of classes, or
    /// the loss is no softmax over all classes.
    pub fn init(
        &self,
        counts: &ClassCounts,
        loss: &ClassificationLoss,
        device: &Device,
    ) -> Result<ScoreCalibration, LossError> {
        let (name, strength) = match self {
            Self::LogitAdjustment(config) => ("calibration.tau", config.tau),
            Self::NorCal(config) => ("calibration.gamma", config.gamma),
        };
        let is_valid = strength.is_finite() && strength >= 0.0;
        check_parameter(name, strength, is_valid, "at least 0 and finite")?;
        let layout = loss.layout();
        if layout.is_multi_label() || layout.num_groups() > 0 {
            return Err(LossError::NotCalibratable { method: layout.method() });
        }
        check_length("the counts of the calibration", counts.num_classes(), layout.num_classes())?;

        let counts: Vec<f64> = counts.instance_counts().iter().map(|&n| n.max(1) as f64).collect();
        let unit = match self {
            Self::LogitAdjustment(_) => counts.iter().sum::<f64>() / counts.len() as f64,
            Self::NorCal(_) => 1.0,
        };
        let scale = loss.logit_scale();
        let of_classes = counts.iter().map(|count| -strength * (count / unit).ln() / scale);
        let others = std::iter::repeat_n(0.0, layout.background().num_columns());
        Ok(ScoreCalibration { shift: table(of_classes.chain(others), device) })
    }
}

/// A correction of scores, made by [`CalibrationConfig::init`].
#[derive(Debug, Clone)]
pub struct ScoreCalibration {
    shift: Tensor<1>, // [num_logits]
}

impl ScoreCalibration {
    /// Corrected scores, `[rows, num_classes]` in `[0, 1]`. `loss` is the one it was made for.
    ///
    /// # Shapes
    /// - logits: `[rows, num_logits]`
    ///
    /// # Errors
    /// If the width of the logits is wrong.
    pub fn scores(
        &self,
        loss: &ClassificationLoss,
        logits: Tensor<2>,
    ) -> Result<Tensor<2>, LossError> {
        loss.layout().check_width(logits.dims()[1])?;
        loss.scores(logits + self.shift.clone().unsqueeze())
    }

    /// The correction on another device.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        Self { shift: self.shift.to_device(&device.clone().without_autodiff()) }
    }
}
