//! Axis-aligned boxes.

use serde::{Deserialize, Serialize};

/// A box `[x1, y1, x2, y2]` in absolute pixels; `x2 - x1` is its width, with no `+ 1`.
///
/// In JSON it is the array of its four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BBox {
    /// Left border.
    pub x1: f32,
    /// Upper border.
    pub y1: f32,
    /// Right border.
    pub x2: f32,
    /// Lower border.
    pub y2: f32,
}

impl BBox {
    /// A box by its borders.
    pub fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// A box by COCO's `[x, y, width, height]`.
    pub fn from_xywh([x, y, width, height]: [f32; 4]) -> Self {
        Self::new(x, y, x + width, y + height)
    }

    /// COCO's `[x, y, width, height]`.
    pub fn to_xywh(self) -> [f32; 4] {
        [self.x1, self.y1, self.width(), self.height()]
    }

    /// `x2 - x1`; negative for a box turned inside out.
    pub fn width(self) -> f32 {
        self.x2 - self.x1
    }

    /// `y2 - y1`; negative for a box turned inside out.
    pub fn height(self) -> f32 {
        self.y2 - self.y1
    }

    /// Width times height; 0 for a box turned inside out.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Whether the box has no area, or a border that is no number.
    pub fn is_empty(self) -> bool {
        !(self.width() > 0.0 && self.height() > 0.0)
    }

    /// The part inside an image of `[height, width]`.
    #[must_use]
    pub fn clip(self, [height, width]: [usize; 2]) -> Self {
        let (width, height) = (width as f32, height as f32);
        Self {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }

    /// Intersection over union, in `[0, 1]`; 0 where both are empty.
    pub fn iou(self, other: Self) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        let intersection = width.max(0.0) * height.max(0.0);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The numbers in order.
    pub fn to_array(self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }
}

impl From<[f32; 4]> for BBox {
    fn from([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Self::new(x1, y1, x2, y2)
    }
}

impl From<BBox> for [f32; 4] {
    fn from(value: BBox) -> Self {
        value.to_array()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_by_hand() {
        let a = BBox::new(0.0, 0.0, 4.0, 2.0);
        assert_eq!(a.iou(BBox::new(2.0, 1.0, 6.0, 3.0)), 2.0 / 14.0);
        assert_eq!(a.iou(a), 1.0);
        assert_eq!(a.iou(BBox::new(4.0, 0.0, 5.0, 2.0)), 0.0);
        let point = BBox::new(1.0, 1.0, 1.0, 1.0);
        assert_eq!((point.iou(point), a.iou(point)), (0.0, 0.0));
    }

    #[test]
    fn clipping_and_emptiness() {
        let inside = BBox::new(-3.0, 1.0, 9.0, 8.0).clip([5, 7]);
        assert_eq!(inside.to_array(), [0.0, 1.0, 7.0, 5.0]);
        assert!(BBox::new(8.0, 1.0, 9.0, 2.0).clip([5, 7]).is_empty());
        let turned = BBox::new(3.0, 0.0, 1.0, 2.0);
        assert!(turned.is_empty() && turned.area() == 0.0);
        assert!(BBox::new(f32::NAN, 0.0, 1.0, 2.0).is_empty());
    }

    #[test]
    fn coco_form_turns_back() {
        let bbox = BBox::from_xywh([1.0, 2.0, 3.0, 4.5]);
        assert_eq!(bbox, BBox::new(1.0, 2.0, 4.0, 6.5));
        assert_eq!(bbox.to_xywh(), [1.0, 2.0, 3.0, 4.5]);
    }
}
