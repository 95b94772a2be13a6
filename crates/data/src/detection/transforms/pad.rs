//! Padding to a fixed size.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::DetectionSample;
use crate::error::check_positive;
use crate::transforms::Fill;

/// Pads at the right and below to `height` x `width`; a larger image is an error.
///
/// The padding is part of the image from then on. Batches pad by themselves: this is for models
/// that need one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadToSize {
    /// New height.
    pub height: usize,
    /// New width.
    pub width: usize,
    /// What the padding shows. Default: the mean colour.
    #[serde(default)]
    pub fill: Fill,
}

impl PadToSize {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("pad-to-size.height", self.height)?;
        check_positive("pad-to-size.width", self.width)
    }

    pub(super) fn apply(
        &self,
        sample: DetectionSample,
        mean_color: [u8; 3],
    ) -> Result<DetectionSample, DataError> {
        let [height, width] = sample.size();
        if height > self.height || width > self.width {
            let expected = "at least as large as the image, which is after the transforms";
            let value = format!("{}x{} for {width}x{height}", self.width, self.height);
            return Err(DataError::setting("pad-to-size", expected, value));
        }
        let (color, is_blank) = self.fill.color(mean_color);
        Ok(sample.window([0, 0], [self.height, self.width], color, is_blank))
    }
}
