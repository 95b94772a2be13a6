//! Copy-paste augmentation.

use longtail_types::{Instance, KeyedRng, Mask};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::detection::DetectionSample;
use crate::detection::sample::with_rest;
use crate::error::check_probability;

/// Puts objects of another image in front of those of this one.
///
/// The other image is any of the training set and goes through the transforms before this one. Each
/// of its objects with a mask is taken with a chance of one half, at its place; what does not fit
/// into this image is cut off. Masks below lose what is hidden, and their boxes shrink; objects
/// hidden altogether are dropped. Objects without a mask stay as they are. Source: Simple
/// Copy-Paste, Ghiasi et al., CVPR 2021, <https://arxiv.org/abs/2012.07177>, without blending,
/// which made no difference there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CopyPaste {
    /// How often. Default 1, as in the paper.
    pub probability: f64,
    /// Chance of each object of the other image. Default 0.5: the paper takes a random subset.
    pub object_probability: f64,
}

impl Default for CopyPaste {
    fn default() -> Self {
        Self { probability: 1.0, object_probability: 0.5 }
    }
}

impl CopyPaste {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_probability("copy-paste.probability", self.probability)?;
        check_probability("copy-paste.object_probability", self.object_probability)
    }

    pub(super) fn paste(
        &self,
        mut base: DetectionSample,
        other: DetectionSample,
        rng: &mut KeyedRng,
    ) -> DetectionSample {
        let mut other = other.window([0, 0], base.size(), [0; 3], false);
        other.instances.retain(|instance| {
            // Every object draws its number, so that one without a mask changes no other.
            rng.chance(self.object_probability) && instance.mask.is_some()
        });
        let width = base.image.width();
        let mut is_hidden = vec![false; width * base.image.height()];
        for mask in other.instances.iter().filter_map(|instance| instance.mask.as_ref()) {
            for (row, y) in mask.pixels().chunks_exact(mask.width().max(1)).zip(mask.top()..) {
                let start = y * width + mask.left();
                let hidden = &mut is_hidden[start..start + row.len()];
                hidden.iter_mut().zip(row).for_each(|(hidden, &is_set)| *hidden |= is_set);
            }
        }
        let has_blank = base.image.blank().is_some();
        for (place, _) in is_hidden.iter().enumerate().filter(|(_, is_hidden)| **is_hidden) {
            let bytes = 3 * place..3 * place + 3;
            base.image.pixels_mut()[bytes.clone()].copy_from_slice(&other.image.pixels()[bytes]);
            if has_blank {
                base.image.blank_mut()[place] = false;
            }
        }
        let below = |instance| hide(instance, &is_hidden, width);
        base.instances = base.instances.into_iter().filter_map(below).collect();
        base.instances.extend(other.instances);
        base
    }
}

fn hide(mut instance: Instance, is_hidden: &[bool], width: usize) -> Option<Instance> {
    let Some(mask) = instance.mask.take() else { return Some(instance) };
    let seen = mask.pixels().iter().enumerate().map(|(i, &is_set)| {
        let (x, y) = (mask.left() + i % mask.width(), mask.top() + i / mask.width());
        is_set && !is_hidden[y * width + x]
    });
    let window = [mask.height(), mask.width()];
    let rest = Mask::new([mask.left(), mask.top()], window, seen.collect())?;
    with_rest(instance, mask.area(), rest)
}
