//! Making one batch.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{BatchPadding, DetectionBatch};
use crate::dataset::Scratch;
use crate::detection::{DetectionDataset, DetectionPipeline, DetectionSample};
use crate::loader::{BatchSource, Cache};
use crate::{DataError, RgbImage};
use longtail_types::{KeyedRng, Stream};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What is needed to make any sample of any epoch.
#[derive(Debug)]
pub(super) struct SampleLoader {
    pub(super) dataset: Arc<DetectionDataset>,
    pub(super) pipeline: DetectionPipeline,
    pub(super) cache: Cache,
    pub(super) seed: u64,
    pub(super) padding: BatchPadding,
}

impl SampleLoader {
    /// The transformed sample of an image; the generator is that of its place in the epoch.
    fn sample(&self, index: usize, mut rng: KeyedRng) -> Result<DetectionSample, DataError> {
        let mut partner = |rng: &mut KeyedRng| self.load(rng.below(self.dataset.num_images()));
        self.pipeline.apply(self.load(index)?, &mut rng, &mut partner)
    }

    fn load(&self, index: usize) -> Result<DetectionSample, DataError> {
        Ok(DetectionSample { image: self.image(index)?, instances: self.dataset.instances(index) })
    }

    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        if let Some(image) = self.cache.get(index) {
            return Ok(image.clone());
        }
        let load = |scratch: &mut Scratch| self.dataset.load_into(index, scratch);
        let image = SCRATCH.with_borrow_mut(load)?;
        if self.dataset.image(index).file.is_some() {
            self.cache.offer(index, &image);
        }
        Ok(image)
    }
}

/// One epoch.
#[derive(Debug)]
pub(super) struct EpochSource {
    pub(super) samples: Arc<SampleLoader>,
    /// Index of the image at each place of the epoch.
    pub(super) order: Vec<usize>,
    /// Places of each batch.
    pub(super) batches: Vec<Vec<usize>>,
    pub(super) epoch: u64,
}

impl EpochSource {
    fn batch(&self, batch: usize, stop: &AtomicBool) -> Result<Option<DetectionBatch>, DataError> {
        let mut samples = Vec::new();
        let SampleLoader { dataset, pipeline, seed, padding, .. } = &*self.samples;
        for &place in &self.batches[batch] {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let index = self.order[place];
            let rng = KeyedRng::new(*seed, Stream::Augment, self.epoch, place as u64);
            let name = || dataset.item_name(index);
            let sample = self.samples.sample(index, rng).map_err(|error| error.with_item(name))?;
            samples.push((index, dataset.image_size(index), sample));
        }
        DetectionBatch::collate(pipeline, padding, samples).map(Some)
    }
}

impl BatchSource for EpochSource {
    type Batch = DetectionBatch;

    fn make(&self, batch: usize, stop: &AtomicBool) -> Option<Result<DetectionBatch, DataError>> {
        self.batch(batch, stop).transpose()
    }
}
