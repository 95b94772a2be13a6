//! Resizing that keeps the aspect ratio.

use longtail_types::{KeyedRng, ResizeRule};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::DetectionSample;
use crate::error::check_positive;

/// Shorter side to one of `sizes`, unless the longer side would then exceed `max`.
///
/// One size is a fixed scale; several are drawn from with equal probability, as in the multi-scale
/// schedules of Detectron2 (640, 672, 704, 736, 768, 800 with a longer side of at most 1333).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeShortestEdge {
    /// Shorter sides in pixels.
    pub sizes: Vec<usize>,
    /// Limit of the longer side in pixels.
    pub max: usize,
}

impl ResizeShortestEdge {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("resize-shortest-edge.max", self.max)?;
        if self.sizes.is_empty() || self.sizes.contains(&0) {
            let expected = "one or more sizes of at least 1";
            let value = format!("{:?}", self.sizes);
            return Err(DataError::setting("resize-shortest-edge.sizes", expected, value));
        }
        Ok(())
    }

    pub(super) fn apply(
        &self,
        sample: DetectionSample,
        rng: &mut KeyedRng,
    ) -> Result<DetectionSample, DataError> {
        let choice = if self.sizes.len() > 1 { rng.below(self.sizes.len()) } else { 0 };
        let Some(&min) = self.sizes.get(choice) else { return Ok(sample) };
        let size = ResizeRule::ShortestEdge { min, max: self.max }.size(sample.size());
        sample.resized(size)
    }
}
