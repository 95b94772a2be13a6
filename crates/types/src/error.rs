//! What can be wrong with counts and class tables.

use thiserror::Error;

/// An error of [`ClassCounts`](crate::ClassCounts), [`TailRule`](crate::TailRule) or
/// [`ClassMap`](crate::ClassMap).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CountsError {
    /// There is no class at all.
    #[error("a data set needs at least one class, got 0")]
    NoClasses,
    /// The two count tables disagree in length.
    #[error("{images} image counts but {instances} instance counts: one of each per class")]
    LengthMismatch {
        /// Number of image counts.
        images: usize,
        /// Number of instance counts.
        instances: usize,
    },
    /// A class is in more images than there are.
    #[error("class {class} is in {images} images, but the data set has only {num_images}")]
    MoreImagesThanTotal {
        /// The class.
        class: usize,
        /// Its image count.
        images: u64,
        /// Images in the data set.
        num_images: u64,
    },
    /// A class has fewer instances than images that contain it.
    #[error("class {class} has {instances} instances in {images} images: fewer than one an image")]
    FewerInstancesThanImages {
        /// The class.
        class: usize,
        /// Its instance count.
        instances: u64,
        /// Its image count.
        images: u64,
    },
    /// A label outside `0..num_classes`.
    #[error("label {label} at index {index} is outside 0..{num_classes}")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Where it stands.
        index: usize,
        /// Number of classes.
        num_classes: usize,
    },
    /// A tail rule that selects no class: the loss would be its plain baseline.
    #[error(
        "tail rule {rule} selects none of {num_classes} classes; image counts run from {min} to {max}"
    )]
    NoTailClass {
        /// The rule.
        rule: String,
        /// Number of classes.
        num_classes: usize,
        /// Smallest image count.
        min: u64,
        /// Largest image count.
        max: u64,
    },
    /// A tail rule that selects every class: no class would be protected from any other.
    #[error(
        "tail rule {rule} selects all {num_classes} classes; image counts run from {min} to {max}"
    )]
    OnlyTailClasses {
        /// The rule.
        rule: String,
        /// Number of classes.
        num_classes: usize,
        /// Smallest image count.
        min: u64,
        /// Largest image count.
        max: u64,
    },
    /// A fraction outside `[0, 1]`.
    #[error("{name} must be a fraction in [0, 1], got {value}")]
    NotAFraction {
        /// What the fraction is.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Two classes of one name.
    #[error("class name {name:?} stands twice, at {first} and {second}")]
    DuplicateName {
        /// The name.
        name: String,
        /// First place.
        first: usize,
        /// Second place.
        second: usize,
    },
}
