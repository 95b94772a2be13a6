//! A decoded image.

/// 8-bit RGB pixels, row by row, interleaved.
///
/// Pixels may be *blank*: padding and cut-out squares that become exactly 0 after normalisation,
/// which no 8-bit colour can express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    blank: Option<Vec<bool>>,
}

impl RgbImage {
    /// An image from `3 * width * height` bytes; `None` if there are more or fewer.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        let is_full = width.checked_mul(height)?.checked_mul(3)? == pixels.len();
        is_full.then_some(Self { width, height, pixels, blank: None })
    }

    /// An image of one colour.
    pub fn filled(width: usize, height: usize, color: [u8; 3]) -> Self {
        let pixels = color.iter().copied().cycle().take(3 * width * height).collect();
        Self { width, height, pixels, blank: None }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All bytes, `[height, width, 3]`.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Gives the bytes away.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Which pixels become 0 after normalisation, `[height, width]`; `None` if no pixel does.
    pub fn blank(&self) -> Option<&[bool]> {
        self.blank.as_deref()
    }

    /// The same table to write to; made if absent.
    pub(crate) fn blank_mut(&mut self) -> &mut [bool] {
        let len = self.width * self.height;
        self.blank.get_or_insert_with(|| vec![false; len])
    }

    /// Colour of a pixel.
    ///
    /// # Panics
    /// If it lies outside.
    pub fn get(&self, x: usize, y: usize) -> [u8; 3] {
        let start = 3 * (y * self.width + x);
        [self.pixels[start], self.pixels[start + 1], self.pixels[start + 2]]
    }

    /// Copies the rectangle at (`left`, `top`), which may reach outside; what lies outside becomes
    /// `color`, and blank where `is_blank`.
    pub(crate) fn window(
        &self,
        [left, top]: [isize; 2],
        [width, height]: [usize; 2],
        color: [u8; 3],
        is_blank: bool,
    ) -> Self {
        let columns = overlap(left, width, self.width);
        let rows = overlap(top, height, self.height);
        let is_inside = columns.len() == width && rows.len() == height;
        let mut out = if is_inside {
            let pixels = Vec::with_capacity(3 * width * height);
            Self { width, height, pixels, blank: None }
        } else {
            Self::filled(width, height, color)
        };
        if self.blank.is_some() || (is_blank && !is_inside) {
            out.blank = Some(vec![is_blank; width * height]);
        }
        let rows = if columns.is_empty() { 0..0 } else { rows };
        for y in rows {
            let source_y = y.wrapping_add_signed(top);
            let from = source_y * self.width + columns.start.wrapping_add_signed(left);
            let source = from..from + columns.len();
            let row = &self.pixels[3 * source.start..3 * source.end];
            let to = y * width + columns.start;
            if is_inside {
                out.pixels.extend_from_slice(row);
            } else {
                out.pixels[3 * to..3 * (to + columns.len())].copy_from_slice(row);
            }
            if let Some(target) = &mut out.blank {
                let target = &mut target[to..to + columns.len()];
                match &self.blank {
                    Some(blank) => target.copy_from_slice(&blank[source]),
                    None => target.fill(false),
                }
            }
        }
        out
    }

    /// Mirrors left and right in place.
    pub(crate) fn flip_horizontal(&mut self) {
        if self.width == 0 {
            return;
        }
        for row in self.pixels.chunks_exact_mut(3 * self.width) {
            row.as_chunks_mut::<3>().0.reverse();
        }
        if let Some(blank) = &mut self.blank {
            blank.chunks_exact_mut(self.width).for_each(<[bool]>::reverse);
        }
    }

    /// New pixels of a new size, keeping the blank table (nearest neighbour of the rectangle
    /// `[left, top, width, height]` that was resized).
    pub(crate) fn resized(
        &self,
        [left, top, from_width, from_height]: [usize; 4],
        [width, height]: [usize; 2],
        pixels: Vec<u8>,
    ) -> Self {
        let blank = self.blank.as_ref().map(|blank| {
            let columns: Vec<usize> =
                (0..width).map(|x| left + nearest(x, width, from_width)).collect();
            let rows = (0..height).map(|y| (top + nearest(y, height, from_height)) * self.width);
            rows.flat_map(|row| columns.iter().map(move |&x| blank[row + x])).collect()
        });
        Self { width, height, pixels, blank }
    }
}

/// Positions of `0..len`, shifted by `offset`, that lie in `0..limit`, in unshifted coordinates.
fn overlap(offset: isize, len: usize, limit: usize) -> std::ops::Range<usize> {
    let start = offset.min(0).unsigned_abs().min(len);
    let end = limit.saturating_add_signed(-offset).min(len).max(start);
    start..end
}

/// Centre of pixel `x` of `len`, on a line of `from` pixels.
fn nearest(x: usize, len: usize, from: usize) -> usize {
    ((2 * x + 1) * from / (2 * len)).min(from.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: usize, height: usize) -> RgbImage {
        let pixels = (0..width * height).flat_map(|i| [i as u8, 100, 200]).collect();
        RgbImage::new(width, height, pixels).unwrap()
    }

    fn reds(image: &RgbImage) -> Vec<u8> {
        image.pixels().chunks_exact(3).map(|p| p[0]).collect()
    }

    #[test]
    fn wrong_number_of_bytes_is_none() {
        assert_eq!(RgbImage::new(2, 2, vec![0; 11]), None);
        assert_eq!(RgbImage::new(usize::MAX, 2, vec![]), None);
    }

    #[test]
    fn windows_in_every_position_match_a_slow_loop() {
        let image = numbered(4, 3);
        for (left, top) in (-6..6).flat_map(|left| (-5..5).map(move |top| (left, top))) {
            let window = image.window([left, top], [3, 2], [99; 3], true);
            for (x, y) in (0..3).flat_map(|x| (0..2).map(move |y| (x, y))) {
                let (sx, sy) = (x as isize + left, y as isize + top);
                let is_outside = !(0..4).contains(&sx) || !(0..3).contains(&sy);
                let expected =
                    if is_outside { [99; 3] } else { image.get(sx as usize, sy as usize) };
                assert_eq!(window.get(x, y), expected, "{left} {top} {x} {y}");
                let is_blank = window.blank().is_some_and(|blank| blank[y * 3 + x]);
                assert_eq!(is_blank, is_outside);
            }
        }
    }

    #[test]
    fn a_window_carries_blank_pixels() {
        let mut image = numbered(2, 2);
        image.blank_mut()[1] = true;
        let window = image.window([1, 0], [2, 2], [0; 3], false);
        assert_eq!(window.blank(), Some(&[true, false, false, false][..]));
    }

    #[test]
    fn flip_mirrors_rows() {
        let mut image = numbered(3, 2);
        image.blank_mut()[0] = true;
        image.flip_horizontal();
        assert_eq!(reds(&image), [2, 1, 0, 5, 4, 3]);
        assert_eq!(image.get(0, 0), [2, 100, 200]);
        assert_eq!(image.blank().unwrap(), [false, false, true, false, false, false]);
    }
}
