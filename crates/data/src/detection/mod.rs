//! Images with boxes and masks: data sets, their file formats, samplers.

mod accepted;
mod assemble;
mod builder;
mod coco;
mod dataset;
mod files;
mod options;
mod problem;
mod raw;
mod runs;
mod segments;
mod store;
mod synthetic;

pub use builder::{DetectionDatasetBuilder, NewAnnotation, Outline};
pub use dataset::{DetectionDataset, ImageInfo};
pub use options::{FileCheck, ReadMode, ReadOptions};
pub use problem::{Problem, ProblemKind, Problems};
pub use store::Annotation;
pub use synthetic::{SyntheticContents, SyntheticDetectionConfig, SyntheticSummary};
