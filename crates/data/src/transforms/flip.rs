//! Random horizontal flip.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Context;
use crate::error::check_probability;
use crate::{DataError, RgbImage};

/// Swaps left and right with a probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HorizontalFlip {
    /// How often. Default 0.5.
    pub probability: f64,
}

impl Default for HorizontalFlip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl HorizontalFlip {
    pub(crate) fn validate(&self) -> Result<(), DataError> {
        check_probability("horizontal-flip.probability", self.probability)
    }

    pub(super) fn apply<'a>(
        &self,
        mut image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Cow<'a, RgbImage> {
        if context.rng.chance(self.probability) {
            image.to_mut().flip_horizontal();
        }
        image
    }
}
