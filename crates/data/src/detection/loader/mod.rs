//! Batches for detectors in order, made ahead by worker threads.

mod batch;
mod config;
mod groups;
mod source;

use std::sync::Arc;

pub use batch::DetectionBatch;
pub use config::{BatchPadding, DetectionLoaderConfig};

use super::{DetectionDataset, DetectionPipeline, DetectionSampler, DetectionSamplerConfig};
use crate::DataError;
use crate::error::check_positive;
use crate::loader::{Cache, Prefetch};
use source::{EpochSource, SampleLoader};

/// Loads batches in order, ahead of the caller, from any place of any epoch.
///
/// What is loaded is a function of (seed, epoch, place in the epoch), whatever the number of
/// workers.
///
/// ```
/// use std::sync::Arc;
///
/// use longtail_data::{
///     DetectionLoader, DetectionLoaderConfig, DetectionPipelineConfig, DetectionSamplerConfig,
///     Split, SyntheticDetectionConfig,
/// };
/// use longtail_types::ResizeRule;
///
/// let config = SyntheticDetectionConfig {
///     num_classes: 10,
///     train_images: 12,
///     head_count: 9,
///     ..Default::default()
/// };
/// let dataset = Arc::new(config.generate(Split::Train)?);
/// let mut pipeline = DetectionPipelineConfig::default();
/// pipeline.preprocess.resize = ResizeRule::None;
/// let (sampler, config) = (DetectionSamplerConfig::default(), DetectionLoaderConfig::default());
/// let loader = DetectionLoader::new(dataset, pipeline.train_pipeline()?, sampler, config)?;
/// for batch in loader.epoch(0, 0) {
///     let batch = batch?;
///     assert_eq!((batch.len(), batch.size), (2, [96, 96]));
///     assert_eq!(batch.targets.len(), 2);
/// }
/// # Ok::<(), longtail_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct DetectionLoader {
    samples: Arc<SampleLoader>,
    sampler: DetectionSampler,
    config: DetectionLoaderConfig,
}

impl DetectionLoader {
    /// A loader of `dataset`.
    ///
    /// # Errors
    /// If the data set has no images, or a setting is outside its range.
    pub fn new(
        dataset: Arc<DetectionDataset>,
        pipeline: DetectionPipeline,
        sampler: DetectionSamplerConfig,
        config: DetectionLoaderConfig,
    ) -> Result<Self, DataError> {
        check_positive("batch_size", config.batch_size)?;
        config.padding.validate()?;
        let sampler = DetectionSampler::new(sampler, &dataset, config.seed)?;
        let is_loaded =
            |&index: &usize| config.keep_empty || dataset.targets(index).next().is_some();
        if !(0..dataset.num_images()).any(|index| is_loaded(&index)) {
            return Err(DataError::EmptyDataset);
        }
        let cache = Cache::new(dataset.num_images(), config.cache_bytes);
        let samples = Arc::new(SampleLoader {
            dataset,
            pipeline,
            cache,
            seed: config.seed,
            padding: config.padding.clone(),
        });
        Ok(Self { samples, sampler, config })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<DetectionDataset> {
        &self.samples.dataset
    }

    /// The sampler.
    pub fn sampler(&self) -> &DetectionSampler {
        &self.sampler
    }

    /// Batches in an epoch. Samplers that repeat images at random make epochs of different
    /// lengths.
    pub fn num_batches(&self, epoch: u64) -> usize {
        self.plan(epoch).1.len()
    }

    /// The batches of an epoch (from 0), from batch `start_batch` on.
    ///
    /// Threads start here and end when the iterator is dropped. If an image cannot be loaded, the
    /// error takes the place of its batch, and the batches after it follow.
    pub fn epoch(&self, epoch: u64, start_batch: usize) -> DetectionEpoch {
        let (order, batches) = self.plan(epoch);
        let end = batches.len();
        let source = EpochSource { samples: self.samples.clone(), order, batches, epoch };
        let DetectionLoaderConfig { workers, prefetch, .. } = self.config;
        DetectionEpoch(Prefetch::new(source, start_batch, end, workers, prefetch))
    }

    /// The order of an epoch, and the places in it of each batch.
    fn plan(&self, epoch: u64) -> (Vec<usize>, Vec<Vec<usize>>) {
        let dataset = &self.samples.dataset;
        let mut order = self.sampler.order(epoch);
        if !self.config.keep_empty {
            order.retain(|&index| dataset.targets(index).next().is_some());
        }
        let shape = |index: usize| {
            let [height, width] = dataset.image_size(index);
            usize::from(self.config.group_by_aspect && width > height)
        };
        let DetectionLoaderConfig { batch_size, drop_last, .. } = self.config;
        let batches = groups::batches(&order, batch_size, drop_last, shape);
        (order, batches)
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct DetectionEpoch(Prefetch<EpochSource>);

impl Iterator for DetectionEpoch {
    type Item = Result<DetectionBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.remaining(), Some(self.0.remaining()))
    }
}

impl ExactSizeIterator for DetectionEpoch {}
