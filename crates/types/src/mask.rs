//! Binary masks of single objects.

use crate::BBox;

/// Pixels of one object in an image: a window of pixels, outside of which nothing is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mask {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    pixels: Vec<bool>,
}

impl Mask {
    /// A window with its upper left corner at `[left, top]`; `pixels` are `[height, width]`, row by
    /// row. `None` if there are more or fewer of them.
    pub fn new(
        [left, top]: [usize; 2],
        [height, width]: [usize; 2],
        pixels: Vec<bool>,
    ) -> Option<Self> {
        let is_full = width.checked_mul(height)? == pixels.len();
        is_full.then_some(Self { left, top, width, height, pixels })
    }

    /// Left border of the window.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Upper border of the window.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Width of the window.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the window.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels of the window, `[height, width]`.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// Whether the pixel of the image at (`x`, `y`) is set.
    pub fn get(&self, x: usize, y: usize) -> bool {
        let (x, y) = (x.wrapping_sub(self.left), y.wrapping_sub(self.top));
        x < self.width && y < self.height && self.pixels[y * self.width + x]
    }

    /// Number of pixels set.
    pub fn area(&self) -> usize {
        self.pixels.iter().filter(|&&is_set| is_set).count()
    }

    /// The smallest box around the pixels set; `None` if there are none.
    pub fn bounding_box(&self) -> Option<BBox> {
        let rows = || self.pixels.chunks_exact(self.width.max(1));
        let is_row_set = |row: &[bool]| row.contains(&true);
        let first = rows().position(is_row_set)?;
        let last = rows().rposition(is_row_set)?;
        let column_is_set = |x: &usize| rows().any(|row| row[*x]);
        let left = (0..self.width).find(column_is_set)?;
        let right = (0..self.width).rfind(column_is_set)?;
        Some(BBox::new(
            (self.left + left) as f32,
            (self.top + first) as f32,
            (self.left + right + 1) as f32,
            (self.top + last + 1) as f32,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_lie_in_the_window() {
        let pixels = vec![false, true, false, false, true, true];
        let mask = Mask::new([4, 7], [2, 3], pixels).unwrap();
        assert!(mask.get(5, 7) && mask.get(6, 8));
        assert!(!mask.get(4, 7) && !mask.get(7, 7) && !mask.get(5, 9) && !mask.get(0, 0));
        assert_eq!(mask.area(), 3);
        assert_eq!(mask.bounding_box(), Some(BBox::new(5.0, 7.0, 7.0, 9.0)));
    }

    #[test]
    fn empty_windows() {
        assert_eq!(Mask::new([0, 0], [2, 2], vec![true]), None);
        assert_eq!(Mask::default().bounding_box(), None);
        assert_eq!(Mask::new([1, 1], [2, 2], vec![false; 4]).unwrap().bounding_box(), None);
        assert!(!Mask::default().get(0, 0));
    }
}
