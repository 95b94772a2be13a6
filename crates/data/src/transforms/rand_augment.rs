//! RandAugment: random operations of one strength.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::augment_op::AugmentOp;
use super::auto_augment::black;
use super::{Context, Fill};
use crate::error::check_positive;
use crate::{DataError, RgbImage};

/// `num_ops` operations, drawn with equal probability from 14, all of one strength.
///
/// Cubuk et al., NeurIPS 2020, <https://arxiv.org/abs/1909.13719>; operations, ranges and defaults
/// as in torchvision (nearest neighbour).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// Operations per image. Default 2.
    pub num_ops: usize,
    /// Strength, below `num_magnitudes`. Default 9.
    pub magnitude: usize,
    /// Number of strengths. Default 31.
    pub num_magnitudes: usize,
    /// What geometric operations pull in from outside. Default: black.
    pub fill: Fill,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self { num_ops: 2, magnitude: 9, num_magnitudes: 31, fill: black() }
    }
}

const OPS: [AugmentOp; 14] = [
    AugmentOp::Identity,
    AugmentOp::ShearX,
    AugmentOp::ShearY,
    AugmentOp::TranslateX,
    AugmentOp::TranslateY,
    AugmentOp::Rotate,
    AugmentOp::Brightness,
    AugmentOp::Color,
    AugmentOp::Contrast,
    AugmentOp::Sharpness,
    AugmentOp::Posterize,
    AugmentOp::Solarize,
    AugmentOp::AutoContrast,
    AugmentOp::Equalize,
];

impl RandAugment {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("rand-augment.num_ops", self.num_ops)?;
        if self.magnitude >= self.num_magnitudes {
            let expected = "below num_magnitudes";
            return Err(DataError::setting("rand-augment.magnitude", expected, self.magnitude));
        }
        Ok(())
    }

    pub(super) fn apply<'a>(
        &self,
        mut image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        for _ in 0..self.num_ops {
            let op = OPS[context.rng.below(OPS.len())];
            let (width, height) = (image.width(), image.height());
            let (magnitude, is_signed) =
                op.magnitude(self.magnitude, self.num_magnitudes, width, height);
            let is_negative = is_signed && context.rng.chance(0.5);
            let magnitude = if is_negative { -magnitude } else { magnitude };
            op.apply(image.to_mut(), magnitude, self.fill, context.mean_color);
        }
        Ok(image)
    }
}
