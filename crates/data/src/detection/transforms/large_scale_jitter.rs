//! Large-scale jitter.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::DetectionSample;
use crate::error::check_positive;
use crate::transforms::{Context, Fill};

/// Resizes to a random scale, then cuts a random window of a fixed size, or pads to it.
///
/// At scale 1 the image just fits into `height` x `width`, aspect ratio kept. Where it is larger
/// than that a window at a uniformly drawn place is cut; where it is smaller it is padded at the
/// right and below. Source: Ghiasi et al., CVPR 2021, <https://arxiv.org/abs/2012.07177>, as
/// Detectron2's `ResizeScale` and `FixedSizeCrop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeScaleJitter {
    /// Height of the result in pixels; 1024 in the paper.
    pub height: usize,
    /// Width of the result in pixels; 1024 in the paper.
    pub width: usize,
    /// Smallest scale. Default 0.1, the paper's large-scale jitter.
    #[serde(default = "paper_min")]
    pub min_scale: f64,
    /// Largest scale. Default 2.
    #[serde(default = "paper_max")]
    pub max_scale: f64,
    /// What the padding shows. Default: the mean colour.
    #[serde(default)]
    pub fill: Fill,
}

fn paper_min() -> f64 {
    0.1
}

fn paper_max() -> f64 {
    2.0
}

impl LargeScaleJitter {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("large-scale-jitter.height", self.height)?;
        check_positive("large-scale-jitter.width", self.width)?;
        let (min, max) = (self.min_scale, self.max_scale);
        if min > 0.0 && min <= max && max <= 16.0 {
            return Ok(());
        }
        let expected = "above 0 and at most max_scale, which is at most 16";
        let value = format!("{min} and {max}");
        Err(DataError::setting("large-scale-jitter.min_scale", expected, value))
    }

    pub(super) fn apply(
        &self,
        sample: DetectionSample,
        context: &mut Context<'_>,
    ) -> Result<DetectionSample, DataError> {
        let target = [self.height, self.width];
        let scale = context.rng.uniform(self.min_scale, self.max_scale);
        let from = sample.size().map(|side| side.max(1) as f64);
        let ratio = (scale * target[0] as f64 / from[0]).min(scale * target[1] as f64 / from[1]);
        let size = from.map(|side| ((side * ratio).round() as usize).max(1));
        let sample = sample.resized(size)?;
        let mut start = |axis: usize| {
            let room = size[axis].saturating_sub(target[axis]);
            context.rng.below(room + 1) as isize
        };
        let (top, left) = (start(0), start(1));
        let (color, is_blank) = self.fill.color(context.mean_color);
        Ok(sample.window([left, top], target, color, is_blank))
    }
}
