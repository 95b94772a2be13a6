//! An epoch of image files: decoded, cropped, flipped, normalised, in batches on the host.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use longtail::data::{ImageDataset, Loader, LoaderConfig, PipelineConfig, Preset, SamplerConfig};
use rayon::prelude::*;

use super::{Failure, Operation};
use crate::noise::noise;

/// Width and height of the files: those of many photographs of ImageNet.
const SIZE: [usize; 2] = [500, 375];
const CLASSES: usize = 8;
const BATCH: usize = 64;

pub(super) struct Epoch {
    loader: Loader,
    number: u64,
}

impl Epoch {
    /// Writes class folders of JPEG files into `photos`; the peer reads them too.
    pub(super) fn new(images: usize, scratch: &Path) -> Result<Self, Failure> {
        let root = scratch.join("photos");
        for class in 0..CLASSES {
            fs::create_dir_all(root.join(format!("{class}")))?;
        }
        (0..images).into_par_iter().try_for_each(|index| -> Result<(), Failure> {
            let path = root.join(format!("{}/{index}.jpg", index % CLASSES));
            let (width, height) = (SIZE[0] as u32, SIZE[1] as u32);
            let mut file = Vec::new();
            JpegEncoder::new_with_quality(&mut file, 90).write_image(
                &photo(index as u32),
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
            Ok(fs::write(path, file)?)
        })?;
        let dataset = Arc::new(ImageDataset::from_folders(&root)?);
        let pipeline = PipelineConfig { preset: Preset::Imagenet, ..Default::default() };
        let config = LoaderConfig {
            batch_size: BATCH,
            workers: rayon::current_num_threads(),
            cache_bytes: 0,
            ..Default::default()
        };
        let sampler = SamplerConfig::InstanceBalanced;
        let loader = Loader::new(dataset, pipeline.train_pipeline()?, sampler, config)?;
        Ok(Self { loader, number: 0 })
    }
}

impl Operation for Epoch {
    fn run(&mut self) -> Result<(), Failure> {
        let mut batches = self.loader.epoch(self.number, 0);
        self.number += 1;
        Ok(batches.try_for_each(|batch| batch.map(drop))?)
    }

    /// Images of an epoch.
    fn check(&mut self) -> Result<Option<f64>, Failure> {
        let mut count = 0;
        for batch in self.loader.epoch(self.number, 0) {
            count += batch?.len();
        }
        Ok(Some(count as f64))
    }
}

/// Soft shades under some grain: a file of the size of a photograph's.
fn photo(index: u32) -> Vec<u8> {
    let shade = |seed| noise(index, seed);
    let pixel = |place: usize| {
        let (x, y) = ((place % SIZE[0]) as f32 / 90.0, (place / SIZE[0]) as f32 / 70.0);
        let grain = 24.0 * noise(place as u32, index.wrapping_add(1000));
        [61, 62, 63].map(|seed| {
            let wave = (x * (1.0 + shade(seed)) + 6.0 * shade(seed + 3)).sin() * y.cos();
            (110.0 + 80.0 * wave + grain) as u8
        })
    };
    (0..SIZE[0] * SIZE[1]).flat_map(pixel).collect()
}
