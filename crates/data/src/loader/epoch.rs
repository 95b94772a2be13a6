//! The loader and its epochs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::LoaderConfig;
use super::cache::Cache;
use super::maker::BatchMaker;
use super::prefetch::{BatchSource, Prefetch};
use crate::error::check_positive;
use crate::{Batch, DataError, ImageDataset, Pipeline, Sampler, SamplerConfig, Stream};

/// Loads batches in order, ahead of the caller, from any place of any epoch.
///
/// What is loaded is a function of (seed, epoch, place in the epoch), whatever the number of
/// workers.
#[derive(Debug)]
pub struct Loader {
    maker: Arc<BatchMaker>,
    sampler: Sampler,
    config: LoaderConfig,
}

impl Loader {
    /// A loader of `dataset`.
    ///
    /// # Errors
    /// If the data set is empty or a setting is outside its range.
    pub fn new(
        dataset: Arc<ImageDataset>,
        pipeline: Pipeline,
        sampler: SamplerConfig,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        check_positive("batch_size", config.batch_size)?;
        if dataset.is_empty() {
            return Err(DataError::EmptyDataset);
        }
        let sampler = Sampler::new(sampler, &dataset, config.seed)?;
        if config.drop_last && config.batch_size > sampler.len() {
            let expected = "at most the number of images when the last batch is dropped";
            return Err(DataError::setting("batch_size", expected, config.batch_size));
        }
        let cache = Cache::new(dataset.len(), config.cache_bytes);
        let (seed, batch_size) = (config.seed, config.batch_size);
        let stream = Stream::Augment;
        let maker = Arc::new(BatchMaker { dataset, pipeline, cache, seed, stream, batch_size });
        Ok(Self { maker, sampler, config })
    }

    /// A loader of the same images in the same order, each augmented a second time, by transforms of
    /// its own. It has an image cache of its own.
    #[must_use]
    pub fn second_view(&self, pipeline: Pipeline) -> Self {
        let BatchMaker { dataset, seed, batch_size, .. } = self.maker.as_ref();
        let cache = Cache::new(dataset.len(), self.config.cache_bytes);
        let (dataset, seed, batch_size) = (dataset.clone(), *seed, *batch_size);
        let stream = Stream::SecondView;
        let maker = Arc::new(BatchMaker { dataset, pipeline, cache, seed, stream, batch_size });
        Self { maker, sampler: self.sampler.clone(), config: self.config }
    }

    /// Batches in an epoch.
    pub fn num_batches(&self) -> usize {
        let (images, size) = (self.sampler.len(), self.config.batch_size);
        if self.config.drop_last { images / size } else { images.div_ceil(size) }
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<ImageDataset> {
        &self.maker.dataset
    }

    /// The sampler.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// The batches of an epoch (from 0), from batch `start_batch` on.
    ///
    /// Threads start here and end when the iterator is dropped. If an image cannot be loaded, the
    /// error takes the place of its batch, and the batches after it follow.
    pub fn epoch(&self, epoch: u64, start_batch: usize) -> Epoch {
        let job = Job { maker: self.maker.clone(), order: self.sampler.order(epoch), epoch };
        let LoaderConfig { workers, prefetch, .. } = self.config;
        Epoch(Prefetch::new(job, start_batch, self.num_batches(), workers, prefetch))
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Epoch(Prefetch<Job>);

/// What the workers of an epoch share.
#[derive(Debug)]
struct Job {
    maker: Arc<BatchMaker>,
    order: Vec<usize>,
    epoch: u64,
}

impl BatchSource for Job {
    type Batch = Batch;

    fn make(&self, batch: usize, stop: &AtomicBool) -> Option<Result<Batch, DataError>> {
        self.maker.make(&self.order, self.epoch, batch, stop)
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.remaining(), Some(self.0.remaining()))
    }
}

impl ExactSizeIterator for Epoch {}
