//! Datasets, transforms, samplers and the seekable loader for long-tailed images.
//!
//! An [`ImageDataset`] is a list of images with labels; [`Pipeline`] turns an image into floats;
//! [`SamplerConfig`] says which image comes when; [`Loader`] makes batches of all that, in order,
//! on several threads. Random numbers are keyed by (seed, epoch, place), so a batch is the same
//! whatever the number of threads and wherever loading starts.
//!
//! ```
//! use std::sync::Arc;
//!
//! use longtail_data::{
//!     Loader, LoaderConfig, PipelineConfig, SamplerConfig, Split, SyntheticConfig,
//! };
//!
//! let config = SyntheticConfig { head_count: 40, imbalance: 20.0, ..Default::default() };
//! let train = config.generate(Split::Train)?;
//! assert_eq!(train.class_counts()?.imbalance_factor(), Some(20.0));
//!
//! let pipeline = PipelineConfig::default().train_pipeline()?; // crop and flip, as for CIFAR
//! let loader_config = LoaderConfig { batch_size: 32, ..Default::default() };
//! let loader =
//!     Loader::new(Arc::new(train), pipeline, SamplerConfig::ClassBalanced, loader_config)?;
//! for batch in loader.epoch(0, 0) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.len() * 3 * 32 * 32);
//! }
//! # Ok::<(), longtail_data::DataError>(())
//! ```

mod batch;
mod dataset;
mod decode;
mod detection;
mod error;
mod held_out;
mod loader;
mod long_tail;
mod rgb_image;
mod sampler;
mod sources;
mod thumbnail;
mod transforms;

pub use batch::{Batch, LabeledImages};
pub use dataset::ImageDataset;
pub use decode::{decode_image, image_size};
pub use detection::{
    Annotation, AnnotationForm, BatchPadding, CopyPaste, DetectionBatch, DetectionDataset,
    DetectionDatasetBuilder, DetectionEpoch, DetectionLoader, DetectionLoaderConfig,
    DetectionPipeline, DetectionPipelineConfig, DetectionSample, DetectionSampler,
    DetectionSamplerConfig, DetectionTransform, FileCheck, FolderForm, ImageInfo, LargeScaleJitter,
    NewAnnotation, Outline, PadToSize, Partner, Problem, ProblemKind, Problems, RandomIouCrop,
    ReadMode, ReadOptions, RepeatFrequency, ResizeShortestEdge, SyntheticContents,
    SyntheticDetectionConfig, SyntheticSummary,
};
pub use error::DataError;
pub use loader::{Epoch, Loader, LoaderConfig};
pub use long_tail::{LongTail, LongTailChoice, LongTailProfile};
pub use longtail_types::{KeyedRng, Stream};
pub use rgb_image::RgbImage;
pub use sampler::{Sampler, SamplerConfig};
pub use sources::{CifarKind, Split, SyntheticConfig};
pub use thumbnail::{Mark, Thumbnail};
pub use transforms::{
    AutoAugment, AutoAugmentPolicy, CenterCrop, ColorJitter, Cutout, Fill, HorizontalFlip,
    Normalize, Pipeline, PipelineConfig, Preset, RandAugment, RandomCrop, RandomResizedCrop,
    Resize, ResizeShorter, Transform,
};
