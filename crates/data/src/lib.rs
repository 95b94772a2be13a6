//! Datasets, transforms, samplers and the seekable loader for long-tailed images.
//!
//! An [`ImageDataset`] is a list of images with labels; [`Pipeline`] turns an image into floats;
//! [`SamplerConfig`] says which image comes when; [`Loader`] makes batches of all that, in order,
//! on several threads. Random numbers are keyed by (seed, epoch, place), so a batch is the same
//! whatever the number of threads and wherever loading starts.

mod batch;
mod dataset;
mod decode;
mod error;
mod loader;
mod long_tail;
mod random;
mod rgb_image;
mod sampler;
mod sources;
mod transforms;

pub use batch::{Batch, ImageBatch};
pub use dataset::ImageDataset;
pub use decode::decode_image;
pub use error::DataError;
pub use loader::{Epoch, Loader, LoaderConfig};
pub use long_tail::{LongTail, LongTailChoice, LongTailProfile};
pub use random::{KeyedRng, Stream};
pub use rgb_image::RgbImage;
pub use sampler::{Sampler, SamplerConfig};
pub use sources::{CifarKind, Split, SyntheticConfig};
pub use transforms::{
    AutoAugment, AutoAugmentPolicy, CenterCrop, ColorJitter, Cutout, Fill, HorizontalFlip,
    Normalize, Pipeline, PipelineConfig, Preset, RandAugment, RandomCrop, RandomResizedCrop,
    Resize, ResizeShorter, Transform,
};
