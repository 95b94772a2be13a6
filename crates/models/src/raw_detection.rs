//! A detection before its mask is drawn.

use longtail_ops::paste_mask;
use longtail_types::{BBox, Detection, Mask};

/// A pixel belongs to a mask above this probability.
const MASK_THRESHOLD: f32 = 0.5;

/// A detection in the pixels of the batch, its mask still in its own square.
#[derive(Debug, Clone, PartialEq)]
pub struct RawDetection {
    /// Class, `0..num_classes`.
    pub label: usize,
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// Its box.
    pub bbox: BBox,
    /// Mask probabilities over the box, `[size, size]` row by row, if the model predicts masks.
    pub mask: Option<Vec<f32>>,
}

impl RawDetection {
    /// The detection in an image of `size` `[height, width]`, of which `from` is the size in the
    /// batch. The mask is drawn at the resolution of `size`: at the original size of the image it
    /// is sharper than one that is drawn in the batch and scaled.
    pub fn resized(self, from: [usize; 2], size: [usize; 2]) -> Detection {
        let ratio = |axis: usize| size[axis] as f32 / from[axis].max(1) as f32;
        let BBox { x1, y1, x2, y2 } = self.bbox;
        let bbox = BBox::new(x1 * ratio(1), y1 * ratio(0), x2 * ratio(1), y2 * ratio(0));
        let mask = self.mask.map(|mask| self::mask(&mask, bbox, size));
        Detection { label: self.label, score: self.score, bbox, mask }
    }
}

fn mask(probabilities: &[f32], bbox: BBox, size: [usize; 2]) -> Mask {
    paste_mask(probabilities, bbox, size, MASK_THRESHOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_masks_grow_with_the_image() {
        let bbox = BBox::new(1.0, 2.0, 3.0, 4.0);
        let raw = RawDetection { label: 4, score: 0.5, bbox, mask: Some(vec![1.0; 4]) };
        let found = raw.resized([5, 8], [10, 24]);
        assert_eq!((found.label, found.score), (4, 0.5));
        assert_eq!(found.bbox, BBox::new(3.0, 4.0, 9.0, 8.0));
        let mask = found.mask.unwrap();
        assert!(mask.get(6, 6) && !mask.get(1, 6) && !mask.get(12, 6));
    }
}
