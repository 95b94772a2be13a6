//! What can be wrong with a loss, its configuration and its inputs.

use longtail_kernels::HostReadError;
use longtail_types::CountsError;
use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum LossError {
    /// No method has this name.
    #[error("unknown method {name:?}; known: {known}")]
    UnknownMethod {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The logits do not have the columns that the method asks for.
    #[error(
        "{method} over {num_classes} classes wants logits of {expected} columns ({layout}), got {found}"
    )]
    LogitWidth {
        /// The method.
        method: &'static str,
        /// Number of classes, without background.
        num_classes: usize,
        /// Columns it wants.
        expected: usize,
        /// What the columns are.
        layout: &'static str,
        /// Columns it got.
        found: usize,
    },
    /// A per-row input has another number of rows than the logits.
    #[error("{what}: {found} rows, but the logits have {expected}")]
    RowCount {
        /// The input.
        what: &'static str,
        /// Rows of the logits.
        expected: usize,
        /// Rows of the input.
        found: usize,
    },
    /// Multi-label targets have another number of columns than there are classes.
    #[error("multi-label targets: {found} columns, expected one per class, {expected}")]
    TargetWidth {
        /// Number of classes.
        expected: usize,
        /// Columns of the targets.
        found: usize,
    },
    /// A softmax method got multi-label targets.
    #[error("{method} takes one label per row; multi-label targets need a sigmoid method")]
    MultiLabel {
        /// The method.
        method: &'static str,
    },
    /// Qualities of rows, of which some may have several labels.
    #[error("the quality of a row needs one label per row, not multi-label targets")]
    QualityOfSeveralLabels,
    /// A label that is no class, nor background where that is a label.
    #[error("label {label} in row {row} is outside 0..{num_labels}")]
    LabelOutOfRange {
        /// The row.
        row: usize,
        /// The label.
        label: i64,
        /// Number of legal labels.
        num_labels: usize,
    },
    /// A multi-label target other than 0 and 1.
    #[error("target {value} in row {row}, column {column} is neither 0 nor 1")]
    TargetNotBinary {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The target.
        value: f32,
    },
    /// A logit that is NaN or infinite.
    #[error("logit {value} in row {row}, column {column} is not finite")]
    LogitNotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The logit.
        value: f32,
    },
    /// A frequency outside `[0, 1]`.
    #[error("frequency {value} of class {class} is outside [0, 1]")]
    Frequency {
        /// The class.
        class: usize,
        /// The frequency.
        value: f64,
    },
    /// A frequency of 0 or 1, whose log-odds are infinite.
    #[error(
        "frequency {value} of class {class} has infinite log-odds; it must lie between 0 and 1"
    )]
    InfinitePrior {
        /// The class.
        class: usize,
        /// The frequency.
        value: f64,
    },
    /// A parameter outside its range.
    #[error("{name} must be {expected}, got {value}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        value: f64,
    },
    /// A per-class table of the wrong length.
    #[error("{name}: {found} values, expected one per class, {expected}")]
    TableLength {
        /// The table.
        name: &'static str,
        /// Number of classes.
        expected: usize,
        /// Values it has.
        found: usize,
    },
    /// The method needs more classes.
    #[error("{method} needs at least {needed} classes, got {found}")]
    TooFewClasses {
        /// The method.
        method: &'static str,
        /// Classes it needs.
        needed: usize,
        /// Classes it got.
        found: usize,
    },
    /// Class weights given to a method that has no place for them.
    #[error(
        "{method} cannot be re-weighted by class; the softmax methods with one label per row can"
    )]
    NotReweightable {
        /// The method.
        method: &'static str,
    },
    /// A calibration of scores that the method has no place for.
    #[error(
        "{method} has no scores to calibrate by the counts; the softmax methods over all classes have"
    )]
    NotCalibratable {
        /// The method.
        method: &'static str,
    },
    /// A statistics update of another method.
    #[error("{method} cannot take the statistics update of another method")]
    ForeignUpdate {
        /// The method.
        method: &'static str,
    },
    /// A saved state that does not fit.
    #[error("saved state of {method}: {message}")]
    State {
        /// The method.
        method: &'static str,
        /// What does not fit.
        message: String,
    },
    /// Class counts or a tail rule.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// The device.
    #[error(transparent)]
    Device(#[from] HostReadError),
}

/// Refuses a parameter outside its range; NaN is outside any.
pub(crate) fn check_parameter(
    name: &'static str,
    value: f64,
    is_valid: bool,
    expected: &'static str,
) -> Result<(), LossError> {
    if is_valid { Ok(()) } else { Err(LossError::Parameter { name, expected, value }) }
}

/// Refuses frequencies outside `[0, 1]`.
pub(crate) fn check_frequencies(frequencies: &[f64]) -> Result<(), LossError> {
    match frequencies.iter().position(|f| !(0.0..=1.0).contains(f)) {
        Some(class) => Err(LossError::Frequency { class, value: frequencies[class] }),
        None => Ok(()),
    }
}

/// Refuses a class table of the wrong length.
pub(crate) fn check_length(
    name: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), LossError> {
    if found == expected { Ok(()) } else { Err(LossError::TableLength { name, expected, found }) }
}
