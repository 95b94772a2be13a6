//! Transforms of decoded images, run on the host.

mod affine;
mod augment_op;
mod auto_augment;
mod color_jitter;
mod crop;
mod cutout;
mod enhance;
mod flip;
mod histogram;
mod normalize;
mod pipeline;
mod preset;
mod rand_augment;
mod random_resized_crop;
mod resize;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod reference_tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use auto_augment::{AutoAugment, AutoAugmentPolicy};
pub use color_jitter::ColorJitter;
pub use crop::{CenterCrop, Fill, RandomCrop};
pub use cutout::Cutout;
pub use flip::HorizontalFlip;
pub use normalize::Normalize;
pub use pipeline::Pipeline;
pub use preset::{PipelineConfig, Preset};
pub use rand_augment::RandAugment;
pub use random_resized_crop::RandomResizedCrop;
pub(crate) use resize::resize_box;
pub use resize::{Resize, ResizeShorter};

use crate::{DataError, RgbImage};
use longtail_types::KeyedRng;

/// What a transform may use beside the image.
pub(crate) struct Context<'a> {
    /// Random numbers of this image.
    pub(crate) rng: &'a mut KeyedRng,
    /// The colour that normalises to about 0.
    pub(crate) mean_color: [u8; 3],
}

/// One transform, with its settings.
///
/// In a recipe: `{ op = "random-crop", size = 32, padding = 4 }`. Random ones draw from the
/// generator of the image; the others ignore it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Transform {
    /// To an exact size.
    Resize(Resize),
    /// Shorter side to a size, aspect ratio kept.
    ResizeShorter(ResizeShorter),
    /// The middle.
    CenterCrop(CenterCrop),
    /// A square anywhere in the padded image.
    RandomCrop(RandomCrop),
    /// A part of random area and shape, resized.
    RandomResizedCrop(RandomResizedCrop),
    /// Left and right swapped at random.
    HorizontalFlip(HorizontalFlip),
    /// Brightness, contrast, saturation and hue at random.
    ColorJitter(ColorJitter),
    /// Blank squares.
    Cutout(Cutout),
    /// Learned pairs of operations.
    AutoAugment(AutoAugment),
    /// Random operations of one strength.
    RandAugment(RandAugment),
}

impl Transform {
    /// Checks the settings.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub(crate) fn validate(&self) -> Result<(), DataError> {
        match self {
            Self::Resize(op) => op.validate(),
            Self::ResizeShorter(op) => op.validate(),
            Self::CenterCrop(op) => op.validate(),
            Self::RandomCrop(op) => op.validate(),
            Self::RandomResizedCrop(op) => op.validate(),
            Self::HorizontalFlip(op) => op.validate(),
            Self::ColorJitter(op) => op.validate(),
            Self::Cutout(op) => op.validate(),
            Self::AutoAugment(_) => Ok(()),
            Self::RandAugment(op) => op.validate(),
        }
    }

    pub(crate) fn apply<'a>(
        &self,
        image: Cow<'a, RgbImage>,
        context: &mut Context<'_>,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        match self {
            Self::Resize(op) => op.apply(image),
            Self::ResizeShorter(op) => op.apply(image),
            Self::CenterCrop(op) => op.apply(image),
            Self::RandomCrop(op) => op.apply(image, context),
            Self::RandomResizedCrop(op) => op.apply(image, context),
            Self::HorizontalFlip(op) => Ok(op.apply(image, context)),
            Self::ColorJitter(op) => Ok(op.apply(image, context)),
            Self::Cutout(op) => Ok(op.apply(image, context)),
            Self::AutoAugment(op) => op.apply(image, context),
            Self::RandAugment(op) => op.apply(image, context),
        }
    }
}
