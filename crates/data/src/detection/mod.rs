//! Images with boxes and masks: data sets, their file formats, samplers.

mod accepted;
mod assemble;
mod builder;
mod coco;
mod dataset;
mod files;
mod loader;
mod made;
mod options;
mod pipeline;
mod problem;
mod raw;
mod runs;
mod sample;
mod sampler;
mod segments;
mod store;
mod synthetic;
mod transforms;
mod voc;
mod write_folder;
mod yolo;

#[cfg(test)]
mod builder_tests;

pub use builder::{DetectionDatasetBuilder, NewAnnotation, Outline};
pub use coco::AnnotationForm;
pub use dataset::{DetectionDataset, ImageInfo};
pub use loader::{
    BatchPadding, DetectionBatch, DetectionEpoch, DetectionLoader, DetectionLoaderConfig,
};
pub use options::{FileCheck, ReadMode, ReadOptions};
pub use pipeline::{DetectionPipeline, DetectionPipelineConfig};
pub use problem::{Problem, ProblemKind, Problems};
pub use sample::DetectionSample;
pub use sampler::{DetectionSampler, DetectionSamplerConfig, RepeatFrequency};
pub use store::Annotation;
pub use synthetic::{SyntheticContents, SyntheticDetectionConfig, SyntheticSummary};
pub use transforms::{
    CopyPaste, DetectionTransform, LargeScaleJitter, PadToSize, Partner, RandomIouCrop,
    ResizeShortestEdge,
};
pub use write_folder::FolderForm;
