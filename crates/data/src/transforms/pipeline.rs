//! A list of transforms, ending in a float tensor.

use std::borrow::Cow;

use super::normalize::append_planes;
use super::{Context, Normalize, Transform};
use crate::{DataError, RgbImage};
use longtail_types::KeyedRng;

/// Transforms in order, then normalisation to `[3, height, width]`.
#[derive(Debug, Clone)]
pub struct Pipeline {
    transforms: Vec<Transform>,
    normalize: Normalize,
    tables: Box<[[f32; 256]; 3]>,
}

impl Pipeline {
    /// Checks the settings and builds the tables.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(transforms: Vec<Transform>, normalize: Normalize) -> Result<Self, DataError> {
        transforms.iter().try_for_each(Transform::validate)?;
        normalize.validate()?;
        Ok(Self { transforms, normalize, tables: Box::new(normalize.tables()) })
    }

    /// The transforms.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// The normalisation.
    pub fn normalize(&self) -> Normalize {
        self.normalize
    }

    /// Transforms an image and appends it, as `[3, height, width]`, to `output`.
    ///
    /// Returns `[height, width]`.
    ///
    /// # Errors
    /// If the image is smaller than a crop.
    pub fn apply(
        &self,
        image: Cow<'_, RgbImage>,
        rng: &mut KeyedRng,
        output: &mut Vec<f32>,
    ) -> Result<[usize; 2], DataError> {
        let image = self.augment(image, rng)?;
        append_planes(&image, &self.tables, output);
        Ok([image.height(), image.width()])
    }

    /// The transforms alone, without normalisation: what `apply` would make of the image, to look
    /// at.
    ///
    /// # Errors
    /// If the image is smaller than a crop.
    pub fn augment<'a>(
        &self,
        image: Cow<'a, RgbImage>,
        rng: &mut KeyedRng,
    ) -> Result<Cow<'a, RgbImage>, DataError> {
        let mut context = Context { rng, mean_color: self.normalize.mean_color() };
        self.transforms.iter().try_fold(image, |image, op| op.apply(image, &mut context))
    }
}
