//! Transforms of images with boxes and masks.

mod copy_paste;
mod iou_crop;
mod large_scale_jitter;
mod pad;
mod shortest_edge;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use copy_paste::CopyPaste;
pub use iou_crop::RandomIouCrop;
pub use large_scale_jitter::LargeScaleJitter;
pub use pad::PadToSize;
pub use shortest_edge::ResizeShortestEdge;

use super::DetectionSample;
use crate::transforms::{ColorJitter, Context, HorizontalFlip, Resize};
use crate::{DataError, RgbImage};
use longtail_types::KeyedRng;

/// Gives the second sample of a transform that needs one, as it is in the data set.
pub type Partner<'a> = dyn FnMut(&mut KeyedRng) -> Result<DetectionSample, DataError> + 'a;

/// One transform, with its settings.
///
/// In a recipe: `{ op = "resize-shortest-edge", sizes = [640, 800], max = 1333 }`. Random ones draw
/// from the generator of the image; the others ignore it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum DetectionTransform {
    /// To an exact size.
    Resize(Resize),
    /// Shorter side to one of some sizes, aspect ratio kept.
    ResizeShortestEdge(ResizeShortestEdge),
    /// To a random scale, then cut or padded to a fixed size.
    LargeScaleJitter(LargeScaleJitter),
    /// Left and right swapped at random.
    HorizontalFlip(HorizontalFlip),
    /// A part that overlaps some object enough.
    RandomIouCrop(RandomIouCrop),
    /// Brightness, contrast, saturation and hue at random.
    ColorJitter(ColorJitter),
    /// Objects of another image put in.
    CopyPaste(CopyPaste),
    /// Padded at the right and below to a fixed size.
    PadToSize(PadToSize),
}

impl DetectionTransform {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        match self {
            Self::Resize(op) => op.validate(),
            Self::ResizeShortestEdge(op) => op.validate(),
            Self::LargeScaleJitter(op) => op.validate(),
            Self::HorizontalFlip(op) => op.validate(),
            Self::RandomIouCrop(op) => op.validate(),
            Self::ColorJitter(op) => op.validate(),
            Self::CopyPaste(op) => op.validate(),
            Self::PadToSize(op) => op.validate(),
        }
    }
}

/// Applies transforms in order. The second sample of a copy-paste goes through those before it.
pub(super) fn apply_all(
    transforms: &[DetectionTransform],
    mut sample: DetectionSample,
    context: &mut Context<'_>,
    partner: &mut Partner<'_>,
) -> Result<DetectionSample, DataError> {
    for (place, transform) in transforms.iter().enumerate() {
        sample = match transform {
            DetectionTransform::Resize(op) => sample.resized([op.height, op.width])?,
            DetectionTransform::ResizeShortestEdge(op) => op.apply(sample, context.rng)?,
            DetectionTransform::LargeScaleJitter(op) => op.apply(sample, context)?,
            DetectionTransform::HorizontalFlip(op) => {
                if context.rng.chance(op.probability) {
                    sample.flipped()
                } else {
                    sample
                }
            }
            DetectionTransform::RandomIouCrop(op) => op.apply(sample, context.rng),
            DetectionTransform::ColorJitter(op) => {
                let image: Cow<'_, RgbImage> = op.apply(Cow::Owned(sample.image), context);
                DetectionSample { image: image.into_owned(), instances: sample.instances }
            }
            DetectionTransform::CopyPaste(op) => {
                if context.rng.chance(op.probability) {
                    let other = partner(context.rng)?;
                    let other = apply_all(&transforms[..place], other, context, partner)?;
                    op.paste(sample, other, context.rng)
                } else {
                    sample
                }
            }
            DetectionTransform::PadToSize(op) => op.apply(sample, context.mean_color)?,
        };
    }
    Ok(sample)
}
