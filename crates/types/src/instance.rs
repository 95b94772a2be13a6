//! Objects in images: as annotated, and as detected.

use crate::{BBox, Mask};

/// One annotated object, in the pixels of the image as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Class, `0..num_classes`.
    pub label: usize,
    /// Its box.
    pub bbox: BBox,
    /// Its pixels, where the data set has masks.
    pub mask: Option<Mask>,
}

/// One detected object.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Class, `0..num_classes`.
    pub label: usize,
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// Its box.
    pub bbox: BBox,
    /// Its pixels, if the model predicts masks.
    pub mask: Option<Mask>,
}
