//! Images with boxes and masks: data sets, their file formats, samplers.

mod builder;
mod dataset;
mod problem;
mod runs;
mod segments;
mod store;

pub use builder::{DetectionDatasetBuilder, NewAnnotation, Outline};
pub use dataset::{DetectionDataset, ImageInfo};
pub use problem::{Problem, ProblemKind, Problems};
pub use store::Annotation;
