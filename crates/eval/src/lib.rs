//! Accuracy by class frequency, calibration, reports and plots for long-tailed recognition.
//!
//! A [`ClassificationEvaluator`] takes scores and labels batch by batch and makes a
//! [`ClassificationReport`]: top-1, top-5, macro and micro accuracy, accuracy of the classes with
//! many, medium and few training images, precision, F1, confusion, calibration. The report is
//! written as `report.json`, `report.md`, `classes.csv` and SVG plots. A [`Comparison`] sets several
//! reports side by side.
//!
//! A [`StreamingEvaluator`] takes the detections of one image after another and makes a
//! [`DetectionReport`]: average precision by the rules of COCO or LVIS, for boxes or masks, by size,
//! by class and by class frequency, with precision over recall, confusion and kinds of errors.
//! [`evaluate_detections`] does the same with files alone; a [`DetectionComparison`] sets several
//! detectors side by side, seed by seed.
//!
//! A [`DatasetPage`], a [`detection_page`] and a [`classification_page`] are HTML in one file, with
//! pictures inside; an [`ErrorCollector`] finds the errors that are worth a picture.
//!
//! Everything here runs on the host with plain slices: any model, in any framework, can be measured.
//! Nothing is reported as 0 that was not measured: a group without classes, a class without test
//! images and the calibration of scores that are no probabilities are absent.

mod calibration;
mod comparison;
mod confusion;
mod detection;
mod error;
mod evaluator;
mod files;
mod json;
mod measure;
mod metrics;
mod page;
mod plot;
mod protocol;
mod report;
mod shot_accuracy;
mod table;
mod text;

pub use calibration::{Calibration, CalibrationBin, NUM_BINS};
pub use comparison::Comparison;
pub use confusion::ConfusionMatrix;
pub use detection::{
    AnnotatedImage, AnnotatedObject, AreaRange, Benchmark, DetectionClass, DetectionComparison,
    DetectionEvaluator, DetectionMetrics, DetectionProtocol, DetectionReport, DetectionSettings,
    ErrorAnalysis, ErrorCollector, FalseDetection, FalseKind, GroundTruth, GroundTruthBuilder,
    GroupSource, ImageDetections, MissedObject, Overlap, PrecisionRecall, StreamingEvaluator,
    TideError, TrainingCounts, detections_json, evaluate_detections, write_detections,
};
pub use error::EvalError;
pub use evaluator::ClassificationEvaluator;
pub use files::write_whole;
pub use metrics::MetricsLog;
pub use page::{
    ClassExamples, DatasetPage, Gallery, Picture, ProblemGroup, RunExtras, classification_page,
    detection_page, escape_html,
};
pub use plot::{BoxShapes, class_distribution_svg};
pub use protocol::EvaluationProtocol;
pub use report::{ClassResult, ClassificationReport};
pub use shot_accuracy::{GroupAccuracy, ShotAccuracy};
