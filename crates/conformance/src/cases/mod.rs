//! What is computed on every device. Shapes are small: a software driver has to get through.

mod classifier;
mod detectors;
mod half;
mod layers;
mod losses;
mod parameters;
mod roi_align;

use crate::case::Case;

/// All cases, cheapest first.
pub(crate) fn cases() -> Vec<Case> {
    let parts = [
        layers::cases(),
        losses::cases(),
        roi_align::cases(),
        half::cases(),
        classifier::cases(),
        detectors::cases(),
    ];
    parts.into_iter().flatten().collect()
}
