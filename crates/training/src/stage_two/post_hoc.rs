//! The settings of second stages that train nothing.

use longtail_models::NearestMeanConfig;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::recipe_file::refuse;

/// Configuration of tau-normalisation: `w_j / |w_j|^tau`, without bias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TauNormConfig {
    /// The exponent. Default: chosen on validation images from 0, 0.1, ..., 2.
    pub tau: TauConfig,
}

/// An exponent, or how it is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TauConfig {
    /// This one.
    Fixed(f64),
    /// The one with the highest mean accuracy over classes; of equal ones the smallest.
    Grid(TauGrid),
}

impl Default for TauConfig {
    fn default() -> Self {
        Self::Grid(TauGrid::default())
    }
}

/// The exponents to choose from, and the images to choose by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TauGrid {
    /// The images. Default: those of `dataset.validation`.
    pub on: TauSource,
    /// The exponents. Default: 0, 0.1, ..., 2, as in the released code.
    pub values: Vec<f64>,
}

impl Default for TauGrid {
    fn default() -> Self {
        let values = (0..=20).map(|tenth| f64::from(tenth) / 10.0).collect();
        Self { on: TauSource::Validation, values }
    }
}

/// Which images choose the exponent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TauSource {
    /// Those of `dataset.validation`; without any, the stage is refused.
    #[default]
    Validation,
    /// The test images. The released code does so on iNaturalist, which has no others; accuracies
    /// chosen so are too good.
    Test,
}

impl TauNormConfig {
    /// The exponent, if it is not to be chosen.
    pub(super) fn fixed(&self) -> Option<f64> {
        match self.tau {
            TauConfig::Fixed(tau) => Some(tau),
            TauConfig::Grid(_) => None,
        }
    }

    /// Whether it is chosen on validation images.
    pub(super) fn needs_validation(&self) -> bool {
        matches!(&self.tau, TauConfig::Grid(grid) if grid.on == TauSource::Validation)
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        let (key, values) = match &self.tau {
            TauConfig::Fixed(tau) => ("stage_two.tau.fixed", std::slice::from_ref(tau)),
            TauConfig::Grid(grid) => ("stage_two.tau.grid.values", grid.values.as_slice()),
        };
        if values.is_empty() {
            return Err(refuse(key, "is empty; give at least one exponent"));
        }
        match values.iter().find(|&&tau| !(tau >= 0.0 && tau.is_finite())) {
            None => Ok(()),
            Some(tau) => Err(refuse(key, format!("{tau} is not a number of at least 0"))),
        }
    }
}

/// Configuration of the nearest class mean. Means are taken over the training images as test images,
/// without augmentation, as in the released code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NcmConfig {
    /// Distance, and what is done to features before. Default: the authors', `l2` and `cl2n`.
    pub means: NearestMeanConfig,
}
