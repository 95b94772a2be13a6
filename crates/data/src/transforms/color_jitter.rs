//! Random brightness, contrast, saturation and hue.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Context, enhance};
use crate::{DataError, RgbImage};

/// Changes brightness, contrast, saturation and hue by random amounts, in random order.
///
/// The first three are multiplied by a number from `[max(0, 1 - x), 1 + x]`; the hue turns by a
/// number from `[-hue, hue]`. A part of 0 is left out. As torchvision on PIL images.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Range of the brightness. Default 0.
    pub brightness: f64,
    /// Range of the contrast. Default 0.
    pub contrast: f64,
    /// Range of the saturation. Default 0.
    pub saturation: f64,
    /// Range of the hue, in turns, at most 0.5. Default 0.
    pub hue: f64,
}

type Enhance = fn(&mut RgbImage, f64);

impl ColorJitter {
    pub(crate) fn validate(&self) -> Result<(), DataError> {
        for (name, value) in [
            ("color-jitter.brightness", self.brightness),
            ("color-jitter.contrast", self.contrast),
            ("color-jitter.saturation", self.saturation),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(DataError::setting(name, "a number of at least 0", value));
            }
        }
        if (0.0..=0.5).contains(&self.hue) {
            return Ok(());
        }
        Err(DataError::setting("color-jitter.hue", "a number in [0, 0.5]", self.hue))
    }

    pub(crate) fn apply<'a>(
        &self,
        mut image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Cow<'a, RgbImage> {
        let around_one = |range: f64| [(1.0 - range).max(0.0), 1.0 + range];
        let mut parts: [(Enhance, f64, [f64; 2]); 4] = [
            (enhance::brightness, self.brightness, around_one(self.brightness)),
            (enhance::contrast, self.contrast, around_one(self.contrast)),
            (enhance::saturation, self.saturation, around_one(self.saturation)),
            (enhance::hue, self.hue, [-self.hue, self.hue]),
        ];
        context.rng.shuffle(&mut parts);
        for (enhance, strength, [low, high]) in parts {
            let amount = context.rng.uniform(low, high);
            if strength > 0.0 {
                enhance(image.to_mut(), amount);
            }
        }
        image
    }
}
