//! AutoAugment: learned pairs of operations.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::augment_op::AugmentOp;
use super::{Context, Fill};
use crate::{DataError, RgbImage};

/// Data set on which a policy was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoAugmentPolicy {
    /// CIFAR-10; also usual for CIFAR-100.
    Cifar10,
    /// ImageNet.
    Imagenet,
}

/// One of 25 learned pairs of operations, each applied with its own probability.
///
/// Cubuk et al., CVPR 2019, <https://arxiv.org/abs/1805.09501>; policies and operations as in
/// torchvision (nearest neighbour).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoAugment {
    /// The policy.
    pub policy: AutoAugmentPolicy,
    /// What geometric operations pull in from outside. Default: black.
    #[serde(default = "black")]
    pub fill: Fill,
}

pub(super) fn black() -> Fill {
    Fill::Color([0; 3])
}

impl AutoAugment {
    pub(super) fn apply<'a>(
        &self,
        mut image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let pairs = self.policy.pairs();
        let pair = &pairs[context.rng.below(pairs.len())];
        for &(op, probability, bin) in pair {
            // Both numbers are drawn whether or not they are used.
            let (is_used, is_negative) = (context.rng.chance(probability), context.rng.chance(0.5));
            if !is_used {
                continue;
            }
            let (magnitude, is_signed) = op.magnitude(bin, 10, image.width(), image.height());
            let magnitude = if is_signed && is_negative { -magnitude } else { magnitude };
            op.apply(image.to_mut(), magnitude, self.fill, context.mean_color);
        }
        Ok(image)
    }
}

/// Operation, probability, strength of ten.
type Step = (AugmentOp, f64, usize);

impl AutoAugmentPolicy {
    fn pairs(self) -> &'static [[Step; 2]; 25] {
        match self {
            Self::Cifar10 => &CIFAR10,
            Self::Imagenet => &IMAGENET,
        }
    }
}

use AugmentOp::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness,
    ShearX, ShearY, Solarize, TranslateX, TranslateY,
};

const CIFAR10: [[Step; 2]; 25] = [
    [(Invert, 0.1, 0), (Contrast, 0.2, 6)],
    [(Rotate, 0.7, 2), (TranslateX, 0.3, 9)],
    [(Sharpness, 0.8, 1), (Sharpness, 0.9, 3)],
    [(ShearY, 0.5, 8), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.5, 0), (Equalize, 0.9, 0)],
    [(ShearY, 0.2, 7), (Posterize, 0.3, 7)],
    [(Color, 0.4, 3), (Brightness, 0.6, 7)],
    [(Sharpness, 0.3, 9), (Brightness, 0.7, 9)],
    [(Equalize, 0.6, 0), (Equalize, 0.5, 0)],
    [(Contrast, 0.6, 7), (Sharpness, 0.6, 5)],
    [(Color, 0.7, 7), (TranslateX, 0.5, 8)],
    [(Equalize, 0.3, 0), (AutoContrast, 0.4, 0)],
    [(TranslateY, 0.4, 3), (Sharpness, 0.2, 6)],
    [(Brightness, 0.9, 6), (Color, 0.2, 8)],
    [(Solarize, 0.5, 2), (Invert, 0.0, 0)],
    [(Equalize, 0.2, 0), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.2, 0), (Equalize, 0.6, 0)],
    [(Color, 0.9, 9), (Equalize, 0.6, 0)],
    [(AutoContrast, 0.8, 0), (Solarize, 0.2, 8)],
    [(Brightness, 0.1, 3), (Color, 0.7, 0)],
    [(Solarize, 0.4, 5), (AutoContrast, 0.9, 0)],
    [(TranslateY, 0.9, 9), (TranslateY, 0.7, 9)],
    [(AutoContrast, 0.9, 0), (Solarize, 0.8, 3)],
    [(Equalize, 0.8, 0), (Invert, 0.1, 0)],
    [(TranslateY, 0.7, 9), (AutoContrast, 0.9, 0)],
];

const IMAGENET: [[Step; 2]; 25] = [
    [(Posterize, 0.4, 8), (Rotate, 0.6, 9)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 0)],
    [(Equalize, 0.8, 0), (Equalize, 0.6, 0)],
    [(Posterize, 0.6, 7), (Posterize, 0.6, 6)],
    [(Equalize, 0.4, 0), (Solarize, 0.2, 4)],
    [(Equalize, 0.4, 0), (Rotate, 0.8, 8)],
    [(Solarize, 0.6, 3), (Equalize, 0.6, 0)],
    [(Posterize, 0.8, 5), (Equalize, 1.0, 0)],
    [(Rotate, 0.2, 3), (Solarize, 0.6, 8)],
    [(Equalize, 0.6, 0), (Posterize, 0.4, 6)],
    [(Rotate, 0.8, 8), (Color, 0.4, 0)],
    [(Rotate, 0.4, 9), (Equalize, 0.6, 0)],
    [(Equalize, 0.0, 0), (Equalize, 0.8, 0)],
    [(Invert, 0.6, 0), (Equalize, 1.0, 0)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Rotate, 0.8, 8), (Color, 1.0, 2)],
    [(Color, 0.8, 8), (Solarize, 0.8, 7)],
    [(Sharpness, 0.4, 7), (Invert, 0.6, 0)],
    [(ShearX, 0.6, 5), (Equalize, 1.0, 0)],
    [(Color, 0.4, 0), (Equalize, 0.6, 0)],
    [(Equalize, 0.4, 0), (Solarize, 0.2, 4)],
    [(Solarize, 0.6, 5), (AutoContrast, 0.6, 0)],
    [(Invert, 0.6, 0), (Equalize, 1.0, 0)],
    [(Color, 0.6, 4), (Contrast, 1.0, 8)],
    [(Equalize, 0.8, 0), (Equalize, 0.6, 0)],
];
