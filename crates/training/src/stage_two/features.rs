//! Features of images: taken once, or batch by batch.

use std::borrow::Cow;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_data::{
    Batch, DataError, ImageDataset, KeyedRng, Loader, LoaderConfig, Pipeline, SamplerConfig, Stream,
};
use longtail_kernels::{read_back, read_floats};
use longtail_models::Classifier;
use rayon::prelude::*;

use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;

/// Runs images through the backbone, `passes` times with the pipeline's random transforms. Row by
/// row: `[passes * images, width]`. `key` is what an error names if they are too many.
pub(super) fn extract(
    model: &Classifier,
    set: &Arc<ImageDataset>,
    pipeline: Pipeline,
    (key, passes): (&str, u64),
    recipe: &Recipe,
) -> Result<Vec<f32>, TrainingError> {
    let config = LoaderConfig {
        batch_size: recipe.evaluation.batch_size,
        workers: recipe.run.workers,
        seed: recipe.seed,
        ..Default::default()
    };
    let loader = Loader::new(set.clone(), pipeline, SamplerConfig::Sequential, config)?;
    let model = model.for_inference();
    let device = model.devices().into_iter().next().unwrap_or_default();
    let mut values = storage(key, passes, set.len(), model.num_features())?;
    for pass in 0..passes {
        for batch in loader.epoch(pass, 0) {
            values.extend(read_floats(model.features(batch?.to_device(&device).images))?);
        }
    }
    Ok(values)
}

/// Memory for the features of `passes` over `images`. Their rows are counted by an `i32`.
fn storage(key: &str, passes: u64, images: usize, width: usize) -> Result<Vec<f32>, TrainingError> {
    let rows = u128::from(passes) * images as u128;
    let bytes = rows.saturating_mul(4 * width as u128);
    let problem = |why: &str| {
        let what = format!("{passes} passes over {images} images with {width} features each");
        refuse(key, format!("{what} are {rows} rows of {bytes} bytes in all: {why}"))
    };
    if rows > i32::MAX as u128 {
        return Err(problem("at most 2147483647 rows can be kept"));
    }
    let mut values = Vec::new();
    let num_values = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
    match values.try_reserve_exact(num_values) {
        Ok(()) => Ok(values),
        Err(_) => Err(problem("that does not fit into memory")),
    }
}

/// Features of all images, on the device.
#[derive(Clone, Debug)]
pub(super) struct CachedFeatures {
    rows: Tensor<2>, // [passes * images, width]
    num_images: usize,
    passes: u64,
}

impl CachedFeatures {
    /// Takes the features of `set` with `passes` augmentations, or as test images if there are none.
    pub(super) fn new(
        model: &Classifier,
        set: &Arc<ImageDataset>,
        passes: u64,
        recipe: &Recipe,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let pipeline = match passes {
            0 => recipe.transforms.test_pipeline()?,
            _ => recipe.transforms.train_pipeline()?,
        };
        let passes = passes.max(1);
        let key = "stage_two.training.features.passes";
        let values = extract(model, set, pipeline, (key, passes), recipe)?;
        let num_rows = passes as usize * set.len(); // at most `i32::MAX`, as `extract` has checked
        let shape = [num_rows, values.len() / num_rows.max(1)];
        let device = device.clone().without_autodiff();
        let rows = Tensor::from_data(TensorData::new(values, shape), &device);
        Ok(Self { rows, num_images: set.len(), passes })
    }

    /// Rows of these images, `[images, width]`, in the pass of an epoch.
    pub(super) fn select(&self, epoch: u64, images: &[usize]) -> Tensor<2> {
        self.select_on_device(epoch, upload(images, &self.rows.device()))
    }

    /// The same where the device has drawn the images.
    pub(super) fn select_on_device(&self, epoch: u64, images: Tensor<1, Int>) -> Tensor<2> {
        let first = (epoch % self.passes) as usize * self.num_images;
        self.rows.clone().select(0, images.add_scalar(first as i64))
    }
}

/// Images to load when their turn comes.
#[derive(Clone, Debug)]
pub(super) struct LiveImages {
    pub(super) set: Arc<ImageDataset>,
    pub(super) pipeline: Pipeline,
    pub(super) seed: u64,
}

impl LiveImages {
    /// These images, transformed by generators keyed by (seed, step, position).
    pub(super) fn load(&self, indices: &[usize], step: u64) -> Result<Batch, DataError> {
        let load = |(position, &index): (usize, &usize)| {
            let mut rng = KeyedRng::new(self.seed, Stream::Augment, step, position as u64);
            let mut values = Vec::new();
            let image = self.set.load(index)?;
            let size = self.pipeline.apply(Cow::Owned(image), &mut rng, &mut values)?;
            Ok((values, size))
        };
        let images =
            indices.par_iter().enumerate().map(load).collect::<Result<Vec<_>, DataError>>()?;
        let size = images.first().map_or([0, 0], |(_, size)| *size);
        if let Some(position) = images.iter().position(|(_, other)| *other != size) {
            let ([height, width], [batch_height, batch_width]) = (images[position].1, size);
            let item = self.set.item_name(indices[position]);
            return Err(DataError::SizeMismatch { item, width, height, batch_width, batch_height });
        }
        let labels = indices.iter().map(|&index| self.set.labels()[index]).collect();
        let images = images.into_iter().flat_map(|(values, _)| values).collect();
        Ok(Batch { images, size, labels, indices: indices.to_vec() })
    }
}

/// Where the rows of chosen images come from.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has one or two")]
pub(super) enum Rows {
    Cached(CachedFeatures),
    Live(LiveImages),
}

/// Indices from the device: images are loaded by the host.
pub(super) fn read_indices(images: Tensor<1, Int>) -> Result<Vec<usize>, TrainingError> {
    Ok(read_back(images)?.iter::<i64>().map(|index| index.max(0) as usize).collect())
}

/// Indices for the device.
pub(super) fn upload(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
    let device = device.clone().without_autodiff();
    Tensor::from_data(TensorData::new(values, [indices.len()]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_features_are_refused_with_key_and_bytes() {
        assert!(storage("key", 3, 7, 5).unwrap().capacity() >= 105);
        for (passes, images, width, parts) in [
            (u64::MAX, 2, 4, ["36893488147419103230 rows", "590295810358705651680 bytes"]),
            (50_000, 50_000, 64, ["2500000000 rows", "640000000000 bytes"]),
            (1, 2, usize::MAX, ["2 rows", "memory"]),
        ] {
            let message = storage("the.key", passes, images, width).unwrap_err().to_string();
            let found = parts.iter().all(|part| message.contains(part));
            assert!(found && message.contains("the.key"), "{message}");
        }
    }
}
