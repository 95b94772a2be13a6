//! Average precision of detectors, by the protocols of COCO and LVIS.

mod analysis;
mod comparison;
mod error_collector;
mod evaluator;
mod federated;
mod file_evaluation;
mod ground_truth;
mod locate;
mod mask_code;
mod protocol;
mod read_results;
mod read_truth;
mod report;
mod results;
mod settings;
mod summary;
mod text;
mod truth_builder;

pub use analysis::{ErrorAnalysis, TideError};
pub use comparison::DetectionComparison;
pub use error_collector::{ErrorCollector, FalseDetection, FalseKind, MissedObject};
pub use evaluator::{DetectionEvaluator, StreamingEvaluator};
pub use file_evaluation::evaluate_detections;
pub use ground_truth::GroundTruth;
pub use protocol::{AreaRange, DetectionProtocol, GroupSource};
pub use report::{DetectionClass, DetectionReport};
pub use results::{ImageDetections, detections_json, write_detections};
pub use settings::{Benchmark, DetectionSettings, Overlap, TrainingCounts};
pub use summary::{DetectionMetrics, PrecisionRecall};
pub use truth_builder::{AnnotatedImage, AnnotatedObject, GroundTruthBuilder};

pub(crate) use protocol::{GROUPS, group_name};
