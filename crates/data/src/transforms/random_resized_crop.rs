//! Random resized crop: the standard augmentation for ImageNet.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Context;
use super::resize::resize_box;
use crate::error::check_positive;
use crate::{DataError, RgbImage};
use longtail_types::KeyedRng;

/// A rectangle of random area and aspect ratio, resized to `size` x `size`.
///
/// The rule is torchvision's: ten tries, then the largest central rectangle of an allowed ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Width and height of the result.
    pub size: usize,
    /// Smallest and largest share of the image's area. Default `[0.08, 1.0]`.
    #[serde(default = "default_scale")]
    pub scale: [f64; 2],
    /// Smallest and largest width over height. Default `[3/4, 4/3]`.
    #[serde(default = "default_ratio")]
    pub ratio: [f64; 2],
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl RandomResizedCrop {
    /// With torchvision's default scale and ratio.
    pub fn new(size: usize) -> Self {
        Self { size, scale: default_scale(), ratio: default_ratio() }
    }

    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("random-resized-crop.size", self.size)?;
        let expected = "two positive numbers in ascending order";
        for (name, [low, high]) in
            [("random-resized-crop.scale", self.scale), ("random-resized-crop.ratio", self.ratio)]
        {
            if !(0.0 < low && low <= high && high.is_finite()) {
                return Err(DataError::setting(name, expected, format!("[{low}, {high}]")));
            }
        }
        Ok(())
    }

    pub(super) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let part = self.rectangle([image.width(), image.height()], context.rng);
        resize_box(image, part, [self.size; 2])
    }

    /// Draws `[left, top, width, height]`.
    fn rectangle(&self, [width, height]: [usize; 2], rng: &mut KeyedRng) -> [usize; 4] {
        let area = (width * height) as f64;
        let [low, high] = self.ratio;
        for _ in 0..10 {
            let target = area * rng.uniform(self.scale[0], self.scale[1]);
            let ratio = rng.uniform(low.ln(), high.ln()).exp();
            let w = (target * ratio).sqrt().round_ties_even() as usize;
            let h = (target / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.below(height - h + 1);
                let left = rng.below(width - w + 1);
                return [left, top, w, h];
            }
        }
        let ratio = width as f64 / height as f64;
        let round = |value: f64| (value.round_ties_even() as usize).max(1);
        let (w, h) = if ratio < low {
            (width, round(width as f64 / low).min(height))
        } else if ratio > high {
            (round(height as f64 * high).min(width), height)
        } else {
            (width, height)
        };
        [(width - w) / 2, (height - h) / 2, w, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::Stream;

    fn rectangles(size: [usize; 2], n: u64) -> Vec<[usize; 4]> {
        let op = RandomResizedCrop::new(224);
        let rng = |i| KeyedRng::new(1, Stream::Augment, 0, i);
        (0..n).map(|i| op.rectangle(size, &mut rng(i))).collect()
    }

    #[test]
    fn rectangles_lie_inside_and_keep_area_and_ratio() {
        let (mut mean_area, n) = (0.0, 20_000);
        for [left, top, w, h] in rectangles([640, 480], n) {
            assert!(left + w <= 640 && top + h <= 480);
            let (area, ratio) = ((w * h) as f64 / (640.0 * 480.0), w as f64 / h as f64);
            assert!((0.079..=1.0).contains(&area), "{area}");
            assert!((0.74..1.36).contains(&ratio), "{ratio}");
            mean_area += area / n as f64;
        }
        // 20,000 draws of torchvision's get_params: 0.4346 (xtask/reference/data.py).
        assert!((mean_area - 0.4346).abs() < 0.01, "{mean_area}");
    }

    #[test]
    fn extreme_shapes_fall_back_to_the_middle() {
        // torchvision's get_params on a 1000 x 10 and on a 10 x 1000 image without luck.
        assert_eq!(rectangles([1000, 10], 3), [[493, 0, 13, 10]; 3]);
        assert_eq!(rectangles([10, 1000], 3), [[0, 493, 10, 13]; 3]);
        assert_eq!(rectangles([1, 1], 1), [[0, 0, 1, 1]]);
    }

    #[test]
    fn settings_are_checked() {
        let op = RandomResizedCrop { scale: [0.5, 0.1], ..RandomResizedCrop::new(8) };
        let expected = "random-resized-crop.scale must be two positive numbers in ascending order, \
                        got [0.5, 0.1]";
        assert_eq!(op.validate().unwrap_err().to_string(), expected);
    }
}
