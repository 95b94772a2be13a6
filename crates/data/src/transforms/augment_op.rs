//! The operations of AutoAugment and RandAugment.

use super::{Fill, affine, enhance, histogram};
use crate::RgbImage;

/// One operation. Definitions and ranges are torchvision's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AugmentOp {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

impl AugmentOp {
    /// Strength number `bin` of `bins` for an image of this size, and whether its sign is drawn.
    pub(super) fn magnitude(
        self,
        bin: usize,
        bins: usize,
        width: usize,
        height: usize,
    ) -> (f64, bool) {
        let up_to = |end: f64| (linspace(0.0, end, bins, bin), true);
        match self {
            Self::ShearX | Self::ShearY => up_to(0.3),
            Self::TranslateX => up_to(150.0 / 331.0 * width as f64),
            Self::TranslateY => up_to(150.0 / 331.0 * height as f64),
            Self::Rotate => up_to(30.0),
            Self::Brightness | Self::Color | Self::Contrast | Self::Sharpness => up_to(0.9),
            Self::Posterize => {
                let quarter = (bins.max(2) - 1) as f32 / 4.0;
                (8.0 - f64::from((bin as f32 / quarter).round_ties_even()), false)
            }
            Self::Solarize => (linspace(255.0, 0.0, bins, bin), false),
            Self::Identity | Self::AutoContrast | Self::Equalize | Self::Invert => (0.0, false),
        }
    }

    /// Applies the operation; pixels from outside show `fill`.
    pub(super) fn apply(
        self,
        image: &mut RgbImage,
        magnitude: f64,
        fill: Fill,
        mean_color: [u8; 3],
    ) {
        let matrix = match self {
            Self::ShearX => affine::shear_x(magnitude),
            Self::ShearY => affine::shear_y(magnitude),
            Self::TranslateX => affine::translate(magnitude, 0.0),
            Self::TranslateY => affine::translate(0.0, magnitude),
            Self::Rotate => affine::rotate(magnitude, image.width(), image.height()),
            Self::Brightness => return enhance::brightness(image, 1.0 + magnitude),
            Self::Color => return enhance::saturation(image, 1.0 + magnitude),
            Self::Contrast => return enhance::contrast(image, 1.0 + magnitude),
            Self::Sharpness => return enhance::sharpness(image, 1.0 + magnitude),
            Self::Posterize => return histogram::posterize(image, magnitude as u32),
            Self::Solarize => return histogram::solarize(image, magnitude),
            Self::AutoContrast => return histogram::auto_contrast(image),
            Self::Equalize => return histogram::equalize(image),
            Self::Invert => return histogram::invert(image),
            Self::Identity => return,
        };
        let (color, is_blank) = fill.color(mean_color);
        *image = affine::warp(image, matrix, color, is_blank);
    }
}

/// Entry `i` of `n` evenly spaced f32 numbers, computed from the nearer end as PyTorch does.
fn linspace(start: f64, end: f64, n: usize, i: usize) -> f64 {
    let (start, end) = (start as f32, end as f32);
    if n < 2 {
        return f64::from(start);
    }
    let step = (end - start) / (n - 1) as f32;
    let value = if i < n / 2 { start + step * i as f32 } else { end - step * (n - 1 - i) as f32 };
    f64::from(value)
}
