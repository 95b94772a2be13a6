//! Crops that keep the scale.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::check_positive;
use crate::{DataError, RgbImage};

/// What fills padding and cut-out squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The mean colour of the normalisation: exactly 0 in the tensor, as if the normalised tensor
    /// were padded.
    #[default]
    Mean,
    /// One RGB colour. torchvision pads with black, `[0, 0, 0]`.
    Color([u8; 3]),
}

impl Fill {
    /// The colour to write, and whether the pixels become blank.
    pub(crate) fn color(self, mean_color: [u8; 3]) -> ([u8; 3], bool) {
        match self {
            Self::Mean => (mean_color, true),
            Self::Color(color) => (color, false),
        }
    }
}

/// The middle `size` x `size` pixels, placed as torchvision does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    /// Width and height.
    pub size: usize,
}

impl CenterCrop {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("center-crop.size", self.size)
    }

    pub(super) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let (width, height) = (image.width(), image.height());
        check_fits([width, height], self.size)?;
        if width == self.size && height == self.size {
            return Ok(image);
        }
        let start = |len: usize| ((len - self.size) as f64 / 2.0).round_ties_even() as isize;
        let corner = [start(width), start(height)];
        Ok(Cow::Owned(image.window(corner, [self.size; 2], [0; 3], false)))
    }
}

/// `size` x `size` pixels at a uniformly drawn place of the padded image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// Width and height.
    pub size: usize,
    /// Pixels added on each of the four sides. Default 0; 4 is usual for CIFAR.
    #[serde(default)]
    pub padding: usize,
    /// What the padding shows. Default: the mean colour.
    #[serde(default)]
    pub fill: Fill,
}

impl RandomCrop {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("random-crop.size", self.size)?;
        if self.padding > self.size {
            return Err(DataError::setting(
                "random-crop.padding",
                "at most the size",
                self.padding,
            ));
        }
        Ok(())
    }

    pub(super) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let padded = [image.width() + 2 * self.padding, image.height() + 2 * self.padding];
        check_fits(padded, self.size)?;
        let corner = padded
            .map(|len| context.rng.below(len - self.size + 1) as isize - self.padding as isize);
        let (color, is_blank) = self.fill.color(context.mean_color);
        Ok(Cow::Owned(image.window(corner, [self.size; 2], color, is_blank)))
    }
}

fn check_fits([width, height]: [usize; 2], size: usize) -> Result<(), DataError> {
    if width >= size && height >= size {
        return Ok(());
    }
    let (crop_width, crop_height) = (size, size);
    Err(DataError::TooSmall { item: String::new(), width, height, crop_width, crop_height })
}
