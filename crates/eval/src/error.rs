//! What can be wrong with scores, labels and report files.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the evaluation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// There is no class at all.
    #[error("an evaluation needs at least one class, got 0")]
    NoClasses,
    /// The scores are no table with one row per label.
    #[error(
        "{scores} scores for {rows} labels: expected {expected}, one for each of {num_classes} classes"
    )]
    ScoreLength {
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        rows: usize,
        /// `rows * num_classes`.
        expected: usize,
        /// Number of classes.
        num_classes: usize,
    },
    /// A score that is not a finite number.
    #[error("score {value} of class {class} in row {row} is not finite")]
    NotFinite {
        /// The score.
        value: f32,
        /// Its column.
        class: usize,
        /// Its row, counted over all batches.
        row: u64,
    },
    /// A label outside `0..num_classes`.
    #[error("label {label} in row {row} is outside 0..{num_classes}")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Its row, counted over all batches.
        row: u64,
        /// Number of classes.
        num_classes: usize,
    },
    /// A report without a single example.
    #[error("no example was evaluated: a report needs at least one")]
    NoExamples,
    /// A table of another number of classes.
    #[error("{what} has {found} classes, the scores have {expected}")]
    ClassMismatch {
        /// The table.
        what: &'static str,
        /// Its number of classes.
        found: usize,
        /// Number of classes of the scores.
        expected: usize,
    },
    /// Thresholds between which a class would be in two groups.
    #[error(
        "shot thresholds cross: many is more than {many_above} images, few is fewer than {few_below}"
    )]
    CrossedThresholds {
        /// Upper threshold.
        many_above: u64,
        /// Lower threshold.
        few_below: u64,
    },
    /// Reports that do not measure the same thing.
    #[error("report \"{second}\" cannot be compared with \"{first}\": {what} differs")]
    NotComparable {
        /// First report.
        first: String,
        /// The report that differs from it.
        second: String,
        /// In what.
        what: &'static str,
    },
    /// A comparison of nothing.
    #[error("no report to compare")]
    NoReports,
    /// A line of a metrics file that cannot be read.
    #[error("metrics line {line}: {source}")]
    MetricsLine {
        /// Line number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A report that is no valid JSON of this format.
    #[error("report {path}: {source}")]
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A report that does not fit into JSON.
    #[error("report as JSON: {0}")]
    Json(serde_json::Error),
    /// A plot that could not be drawn.
    #[error("plot {plot}: {message}")]
    Plot {
        /// The plot.
        plot: &'static str,
        /// Why.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of annotations or detections that cannot be used as a whole.
    #[error("{path}: {message}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why, with the value.
        message: String,
    },
    /// An entry of a file of annotations or detections that cannot be used.
    #[error("{path}: {list}[{index}]: {message}")]
    BadEntry {
        /// The file.
        path: PathBuf,
        /// The list in the file: `annotations`, `images`, `categories` or `detections`.
        list: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// Why, with the value.
        message: String,
    },
    /// A detection that cannot be evaluated.
    #[error("detection {index} of image {image_id}: {message}")]
    BadDetection {
        /// Id of its image.
        image_id: u64,
        /// Place among the detections of the image, from 0.
        index: usize,
        /// Why, with the value.
        message: String,
    },
    /// Ground truth that cannot be evaluated against.
    #[error("ground truth, image {image_id}: {message}")]
    BadTruth {
        /// Id of the image.
        image_id: u64,
        /// Why, with the value.
        message: String,
    },
    /// An image that the ground truth does not have.
    #[error("image {image_id} is not in the ground truth")]
    UnknownImage {
        /// Its id.
        image_id: u64,
    },
    /// Detections of one image that came twice.
    #[error("image {image_id} was evaluated already")]
    ImageTwice {
        /// Its id.
        image_id: u64,
    },
    /// A class of the model that the ground truth does not have, or the other way round.
    #[error("class id {id} ({name:?}) is {where_is}, but not {where_not}")]
    ClassNotShared {
        /// Its id.
        id: u64,
        /// Its name.
        name: String,
        /// Where it is.
        where_is: &'static str,
        /// Where it is missing.
        where_not: &'static str,
    },
    /// Training counts of another number of classes than the annotations have.
    #[error("the training counts are of {found} classes, the annotations of {expected}")]
    TrainingClasses {
        /// Number of classes of the counts.
        found: usize,
        /// Number of classes of the annotations.
        expected: usize,
    },
    /// Class tables that contradict themselves.
    #[error(transparent)]
    Counts(#[from] longtail_types::CountsError),
    /// The evaluation itself refused its input.
    #[error("evaluation: {0}")]
    Evaluation(#[from] hotcoco::Error),
}
