//! What belongs to a file of weights.

use longtail_data::BatchPadding;
use longtail_losses::{CalibrationConfig, ClassificationLossConfig};
use longtail_models::DetectorConfig;
use longtail_types::{ClassCounts, ClassMap, Preprocess};
use serde::{Deserialize, Serialize};

/// All that a detector is beside its weights, in one JSON file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// What the page calls it.
    pub name: String,
    /// The detector.
    pub model: DetectorConfig,
    /// The loss it was trained with: it says what a score is.
    pub loss: ClassificationLossConfig,
    /// Correction of the scores, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// Training images and objects per class.
    pub counts: ClassCounts,
    /// The classes.
    pub classes: ClassMap,
    /// What images go through.
    pub preprocess: Preprocess,
    /// How they are padded.
    pub padding: BatchPadding,
    /// An image whose longer side would exceed this many pixels after the preprocessing is made
    /// smaller, so that a visitor's photo does not take minutes.
    pub max_side: usize,
    /// Names of example images beside the card.
    pub examples: Vec<String>,
}
