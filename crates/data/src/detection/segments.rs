//! Outlines of objects, polygons and run-length masks, in flat arrays.

use hotcoco::mask::{fr_poly, rle_from_string};
use longtail_types::Mask;

use super::runs::window_of;
use crate::DataError;

/// Where the outline of an annotation lies in [`Segments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Segment {
    /// A box alone.
    #[default]
    None,
    /// The union of polygons.
    Polygons {
        /// The first one.
        first: u32,
        /// How many.
        count: u32,
    },
    /// A run-length mask.
    Runs {
        /// Its place in the list of masks.
        index: u32,
    },
}

/// A run-length mask in COCO's compressed text form.
#[derive(Debug, Clone, Copy)]
struct RunText {
    start: usize,
    end: usize,
    /// `[height, width]`
    size: [u32; 2],
}

/// Coordinates of all polygons and texts of all run-length masks of a data set.
///
/// A coordinate takes 4 bytes. The few whose pixels would change by that are kept in f64 beside:
/// masks equal those of the numbers as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Segments {
    coordinates: Vec<f32>,
    /// End of each polygon in `coordinates`.
    ends: Vec<usize>,
    /// Coordinates that f32 would move over a rasteriser's threshold, by place.
    exact: Vec<(usize, f64)>,
    run_texts: Vec<RunText>,
    text: String,
}

/// How far the arrays are filled: what to return to when an annotation is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoint {
    coordinates: usize,
    ends: usize,
    run_texts: usize,
    text: usize,
}

impl Segments {
    /// Adds one number of the polygon being written: x, y, x, y, ...
    pub(super) fn push_coordinate(&mut self, value: f64) {
        if needs_exact(value) {
            self.exact.push((self.coordinates.len(), value));
        }
        self.coordinates.push(value as f32);
    }

    /// Numbers of the polygon being written.
    pub(super) fn open_coordinates(&self) -> usize {
        self.coordinates.len() - self.ends.last().copied().unwrap_or(0)
    }

    /// Ends the polygon being written.
    pub(super) fn end_polygon(&mut self) {
        self.ends.push(self.coordinates.len());
    }

    /// Gives up the polygon being written.
    pub(super) fn drop_polygon(&mut self) {
        self.truncate_coordinates(self.ends.last().copied().unwrap_or(0));
    }

    /// The polygons written since `start`.
    pub(super) fn polygons_since(&self, start: Checkpoint) -> Segment {
        let (first, count) = (start.ends as u32, (self.ends.len() - start.ends) as u32);
        if count == 0 { Segment::None } else { Segment::Polygons { first, count } }
    }

    /// Adds a mask in COCO's compressed text form.
    pub(super) fn push_runs(&mut self, text: &str, size: [u32; 2]) -> Segment {
        let start = self.text.len();
        self.text.push_str(text);
        self.run_texts.push(RunText { start, end: self.text.len(), size });
        Segment::Runs { index: (self.run_texts.len() - 1) as u32 }
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            coordinates: self.coordinates.len(),
            ends: self.ends.len(),
            run_texts: self.run_texts.len(),
            text: self.text.len(),
        }
    }

    /// Forgets what was written since `checkpoint`.
    pub(super) fn roll_back(&mut self, checkpoint: Checkpoint) {
        self.ends.truncate(checkpoint.ends);
        self.run_texts.truncate(checkpoint.run_texts);
        self.text.truncate(checkpoint.text);
        self.truncate_coordinates(checkpoint.coordinates);
    }

    fn truncate_coordinates(&mut self, len: usize) {
        self.coordinates.truncate(len);
        let kept = self.exact.partition_point(|&(place, _)| place < len);
        self.exact.truncate(kept);
    }

    /// Refuses more polygons or masks than their places can number.
    pub(super) fn check_len(&self) -> Result<(), DataError> {
        let len = self.ends.len().max(self.run_texts.len());
        if u32::try_from(len).is_ok() {
            return Ok(());
        }
        Err(DataError::setting("polygons of a set", "fewer than 2^32", len))
    }

    /// Gives unused memory back.
    pub(super) fn shrink(&mut self) {
        self.coordinates.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    /// The polygons of a segment, each as x, y, x, y, ... as written.
    pub(super) fn polygons(&self, segment: Segment) -> impl Iterator<Item = Vec<f64>> + '_ {
        let range = match segment {
            Segment::Polygons { first, count } => first as usize..(first + count) as usize,
            Segment::None | Segment::Runs { .. } => 0..0,
        };
        range.map(|polygon| self.polygon(polygon))
    }

    fn polygon(&self, polygon: usize) -> Vec<f64> {
        let start = polygon.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = self.ends[polygon];
        let mut values: Vec<f64> =
            self.coordinates[start..end].iter().map(|&value| decimal(value)).collect();
        let from = self.exact.partition_point(|&(place, _)| place < start);
        for &(place, value) in self.exact[from..].iter().take_while(|(place, _)| *place < end) {
            values[place - start] = value;
        }
        values
    }

    /// Compressed text and `[height, width]` of a run-length segment.
    pub(super) fn runs(&self, segment: Segment) -> Option<(&str, [u32; 2])> {
        let Segment::Runs { index } = segment else { return None };
        let RunText { start, end, size } = *self.run_texts.get(index as usize)?;
        Some((self.text.get(start..end)?, size))
    }

    /// The pixels of a segment in an image of `[height, width]`; `None` without a segment.
    pub(super) fn mask(&self, segment: Segment, [height, width]: [u32; 2]) -> Option<Mask> {
        match segment {
            Segment::None => None,
            Segment::Polygons { .. } => {
                let runs = self.polygons(segment).map(|xy| fr_poly(&xy, height, width));
                window_of(&runs.collect::<Result<Vec<_>, _>>().ok()?)
            }
            Segment::Runs { .. } => {
                let (text, [height, width]) = self.runs(segment)?;
                window_of(&[rle_from_string(text, height, width).ok()?])
            }
        }
    }
}

/// The shortest decimal of at most 4 places that is this f32: what stood in the file.
pub(super) fn decimal(value: f32) -> f64 {
    let wide = f64::from(value);
    let rounded = |scale: f64| (wide * scale).round() / scale;
    let is_same = |number: &f64| *number as f32 == value;
    [rounded(1e2), rounded(1e4)].into_iter().find(is_same).unwrap_or(wide)
}

/// Whether `decimal(value as f32)` would be rasterised elsewhere: the rasteriser works on a grid
/// of fifths of pixels.
fn needs_exact(value: f64) -> bool {
    if value.abs() < 8192.0 {
        let grid = 5.0 * value + 0.5;
        let fraction = (grid - f64::from(grid as i32)).abs();
        // f32 keeps integers, and moves `grid` by less than 0.005 here.
        if f64::from(value as i32) == value || (0.01..0.99).contains(&fraction) {
            return false;
        }
    }
    (5.0 * value + 0.5) as i64 != (5.0 * decimal(value as f32) + 0.5) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(polygons: &[&[f64]]) -> (Segments, Segment) {
        let mut segments = Segments::default();
        let start = segments.checkpoint();
        for polygon in polygons {
            polygon.iter().for_each(|&value| segments.push_coordinate(value));
            segments.end_polygon();
        }
        let segment = segments.polygons_since(start);
        (segments, segment)
    }

    #[test]
    fn decimals_come_back_as_written() {
        for hundredths in (0..1_000_000).step_by(7) {
            let value = f64::from(hundredths) / 100.0;
            assert_eq!(decimal(value as f32), value);
            assert!(!needs_exact(value), "{value}");
        }
        assert_eq!(decimal(0.1234), 0.1234);
        assert_eq!(decimal(-3.5), -3.5);
        let third = 1.0_f32 / 3.0;
        assert_eq!(decimal(third), f64::from(third));
    }

    /// 1.0999999999999943 is just below a threshold of the rasteriser, 1.1 on it.
    #[test]
    fn numbers_that_f32_would_move_are_kept() {
        let below = 1.099_999_999_999_994_3;
        assert!(needs_exact(below) && !needs_exact(1.1));
        let (mut segments, segment) = segments(&[&[0.0, 0.0, below, 0.0, 1.1, 5.0]]);
        let polygons: Vec<_> = segments.polygons(segment).collect();
        assert_eq!(polygons, [[0.0, 0.0, below, 0.0, 1.1, 5.0]]);
        let far = 20_000.3;
        assert_eq!((5.0 * far + 0.5) as i64, (5.0 * decimal(far as f32) + 0.5) as i64);

        let checkpoint = segments.checkpoint();
        segments.push_coordinate(below);
        assert_eq!((segments.exact.len(), segments.open_coordinates()), (2, 1));
        segments.drop_polygon();
        assert_eq!((segments.exact.len(), segments.open_coordinates()), (1, 0));
        segments.roll_back(checkpoint);
        assert_eq!(segments.polygons(segment).count(), 1);
    }

    /// Pixels with their centre inside, for borders on whole pixels.
    #[test]
    fn overlapping_polygons_are_one_mask() {
        let first: &[f64] = &[1.0, 2.0, 4.0, 2.0, 4.0, 4.0, 1.0, 4.0];
        let second: &[f64] = &[3.0, 3.0, 6.0, 3.0, 6.0, 5.0, 3.0, 5.0];
        let (segments, segment) = segments(&[first, second]);
        let mask = segments.mask(segment, [10, 10]).unwrap();
        assert_eq!([mask.left(), mask.top(), mask.width(), mask.height()], [1, 2, 5, 3]);
        for (x, y) in (0..10).flat_map(|x| (0..10).map(move |y| (x, y))) {
            let is_first = (1..4).contains(&x) && (2..4).contains(&y);
            let is_second = (3..6).contains(&x) && (3..5).contains(&y);
            assert_eq!(mask.get(x, y), is_first || is_second, "{x} {y}");
        }
        assert_eq!(segments.mask(Segment::None, [10, 10]), None);
    }
}
