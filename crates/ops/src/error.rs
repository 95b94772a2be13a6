//! Refusals of this crate.

/// Why a value of this crate cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// Anchor sizes and ratios are lists of different lengths.
    #[error("anchor sizes for {sizes} levels, but anchor ratios for {ratios}")]
    AnchorLevels {
        /// Levels with sizes.
        sizes: usize,
        /// Levels with ratios.
        ratios: usize,
    },
    /// A level without sizes or ratios, or no level at all.
    #[error("level {level} has no anchor {what}")]
    NoAnchors {
        /// The level, from 0.
        level: usize,
        /// What is missing: sizes or ratios.
        what: &'static str,
    },
    /// A size or ratio that is not a positive number.
    #[error("anchor {what} {value} of level {level} is not a positive number")]
    AnchorValue {
        /// The level, from 0.
        level: usize,
        /// Size or ratio.
        what: &'static str,
        /// The value refused.
        value: f32,
    },
}
