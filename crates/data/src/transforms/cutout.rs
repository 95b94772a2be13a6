//! Cutout: blank squares.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Context, Fill};
use crate::error::check_positive;
use crate::{DataError, RgbImage};

/// Blanks squares whose centres lie anywhere in the image, so that a square may reach outside.
///
/// DeVries and Taylor, <https://arxiv.org/abs/1708.04552>, released code, which blanks the
/// normalised tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutout {
    /// Side of a square; an odd one is rounded down. 16 is usual for CIFAR-10.
    pub size: usize,
    /// Squares per image. Default 1.
    #[serde(default = "one")]
    pub holes: usize,
    /// What the squares show. Default: the mean colour.
    #[serde(default)]
    pub fill: Fill,
}

fn one() -> usize {
    1
}

impl Cutout {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("cutout.size", self.size)
    }

    pub(super) fn apply<'a>(
        &self,
        mut image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Cow<'a, RgbImage> {
        let (width, height) = (image.width(), image.height());
        let (color, is_blank) = self.fill.color(context.mean_color);
        let reach = self.size / 2;
        for _ in 0..self.holes {
            let (y, x) = (context.rng.below(height), context.rng.below(width));
            let columns = x.saturating_sub(reach)..(x + reach).min(width);
            let image = image.to_mut();
            for y in y.saturating_sub(reach)..(y + reach).min(height) {
                let row = y * width + columns.start..y * width + columns.end;
                let pixels = &mut image.pixels_mut()[3 * row.start..3 * row.end];
                pixels.as_chunks_mut::<3>().0.fill(color);
                if is_blank || image.blank().is_some() {
                    image.blank_mut()[row].fill(is_blank);
                }
            }
        }
        image
    }
}
