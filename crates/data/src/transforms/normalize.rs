//! From 8-bit pixels to normalised floats.

use serde::{Deserialize, Serialize};

use crate::{DataError, RgbImage};

/// Per-channel mean and standard deviation, RGB, of pixels in `[0, 1]`.
///
/// `value = (pixel / 255 - mean) / std`, in f32 as torchvision computes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Mean per channel.
    pub mean: [f32; 3],
    /// Standard deviation per channel.
    pub std: [f32; 3],
}

impl Normalize {
    /// Usual numbers for CIFAR-10, as in the released code of LDAM and many others.
    pub const CIFAR: Self = Self { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.2010] };
    /// Usual numbers for ImageNet, those of torchvision's weights.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    pub(crate) fn validate(&self) -> Result<(), DataError> {
        if !self.mean.iter().all(|m| m.is_finite()) {
            let value = format!("{:?}", self.mean);
            return Err(DataError::setting("normalize.mean", "three numbers", value));
        }
        if !self.std.iter().all(|&s| s > 0.0 && s.is_finite()) {
            let value = format!("{:?}", self.std);
            return Err(DataError::setting("normalize.std", "three positive numbers", value));
        }
        Ok(())
    }

    /// The 8-bit colour nearest to the mean.
    pub(crate) fn mean_color(&self) -> [u8; 3] {
        self.mean.map(|mean| (mean * 255.0).round().clamp(0.0, 255.0) as u8)
    }

    /// Value of every pixel value, per channel.
    pub(crate) fn tables(&self) -> [[f32; 256]; 3] {
        let value = |channel: usize, pixel: usize| {
            (pixel as f32 / 255.0 - self.mean[channel]) / self.std[channel]
        };
        std::array::from_fn(|channel| std::array::from_fn(|pixel| value(channel, pixel)))
    }
}

/// Appends `image` as `[3, height, width]`, replacing pixels by their table values and blank ones
/// by 0.
pub(super) fn append_planes(image: &RgbImage, tables: &[[f32; 256]; 3], output: &mut Vec<f32>) {
    let pixels = image.pixels().as_chunks::<3>().0;
    let start = output.len();
    output.reserve(3 * pixels.len());
    for (channel, table) in tables.iter().enumerate() {
        output.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
    }
    if let Some(blank) = image.blank() {
        for plane in output[start..].chunks_exact_mut(blank.len()) {
            plane.iter_mut().zip(blank).filter(|(_, blank)| **blank).for_each(|(v, _)| *v = 0.0);
        }
    }
}
