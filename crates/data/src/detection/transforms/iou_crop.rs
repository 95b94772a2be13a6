//! Random crops that keep an object.

use longtail_types::{BBox, KeyedRng};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::DetectionSample;

/// Cuts a part of random size and shape whose overlap with some box is large enough.
///
/// One of `overlaps` is drawn; 1 leaves the image as it is. Then windows are drawn until one holds
/// the middle of some box and has at least that IoU with one such box; after `attempts` windows
/// another overlap is drawn. An image without boxes stays as it is. Source: the crop of SSD, Liu
/// et al., ECCV 2016, <https://arxiv.org/abs/1512.02325>, as torchvision's `RandomIoUCrop`; there
/// objects whose middle is outside are dropped, here every object that is still seen is kept,
/// clipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomIouCrop {
    /// Smallest side of the window, as a share of the image's. Default 0.3.
    pub min_scale: f64,
    /// Largest side of the window, likewise. Default 1.
    pub max_scale: f64,
    /// Smallest width over height, in shares. Default 0.5.
    pub min_aspect: f64,
    /// Largest width over height, in shares. Default 2.
    pub max_aspect: f64,
    /// IoUs to draw from. Default 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.
    pub overlaps: Vec<f64>,
    /// Windows tried for each overlap drawn. Default 40.
    pub attempts: usize,
}

impl Default for RandomIouCrop {
    fn default() -> Self {
        Self {
            min_scale: 0.3,
            max_scale: 1.0,
            min_aspect: 0.5,
            max_aspect: 2.0,
            overlaps: vec![0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
            attempts: 40,
        }
    }
}

/// Overlaps drawn before the image is left as it is: torchvision goes on for ever.
const ROUNDS: usize = 50;

impl RandomIouCrop {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        let (min, max) = (self.min_scale, self.max_scale);
        if !(min > 0.0 && min <= max && max <= 1.0) {
            let expected = "above 0 and at most max_scale, which is at most 1";
            let value = format!("{min} and {max}");
            return Err(DataError::setting("random-iou-crop.min_scale", expected, value));
        }
        let (min, max) = (self.min_aspect, self.max_aspect);
        if !(min > 0.0 && min <= 1.0 && max >= 1.0 && max.is_finite()) {
            let expected = "in (0, 1], with max_aspect of at least 1";
            let value = format!("{min} and {max}");
            return Err(DataError::setting("random-iou-crop.min_aspect", expected, value));
        }
        if self.overlaps.is_empty() || !self.overlaps.iter().all(|o| (0.0..=1.0).contains(o)) {
            let expected = "one or more numbers in [0, 1]";
            let value = format!("{:?}", self.overlaps);
            return Err(DataError::setting("random-iou-crop.overlaps", expected, value));
        }
        Ok(())
    }

    pub(super) fn apply(&self, sample: DetectionSample, rng: &mut KeyedRng) -> DetectionSample {
        if sample.instances.is_empty() {
            return sample;
        }
        for _ in 0..ROUNDS {
            let overlap = self.overlaps[rng.below(self.overlaps.len())];
            if overlap >= 1.0 {
                return sample;
            }
            for _ in 0..self.attempts {
                let Some([left, top, width, height]) = self.draw(sample.size(), rng) else {
                    continue;
                };
                if is_good(&sample, [left, top, width, height], overlap) {
                    let corner = [left as isize, top as isize];
                    return sample.window(corner, [height, width], [0; 3], false);
                }
            }
        }
        sample
    }

    /// `[left, top, width, height]`; `None` if too narrow, too flat or empty.
    fn draw(&self, [height, width]: [usize; 2], rng: &mut KeyedRng) -> Option<[usize; 4]> {
        let mut side =
            |len: usize| (len as f64 * rng.uniform(self.min_scale, self.max_scale)) as usize;
        let (new_width, new_height) = (side(width), side(height));
        let aspect = new_width as f64 / new_height as f64;
        if new_width == 0
            || new_height == 0
            || !(self.min_aspect..=self.max_aspect).contains(&aspect)
        {
            return None;
        }
        let left = rng.below(width - new_width + 1);
        let top = rng.below(height - new_height + 1);
        Some([left, top, new_width, new_height])
    }
}

fn is_good(sample: &DetectionSample, window: [usize; 4], overlap: f64) -> bool {
    let window = BBox::from_xywh(window.map(|value| value as f32));
    let holds_middle = |bbox: BBox| {
        let (x, y) = ((bbox.x1 + bbox.x2) / 2.0, (bbox.y1 + bbox.y2) / 2.0);
        window.x1 < x && x < window.x2 && window.y1 < y && y < window.y2
    };
    let boxes = sample.instances.iter().map(|instance| instance.bbox);
    boxes.filter(|&bbox| holds_middle(bbox)).any(|bbox| f64::from(bbox.iou(window)) >= overlap)
}
