//! The lists that the RoIAlign kernels read, from the RoIs of one level.
//!
//! All numbers lie in one buffer and all weights in another, since WebGPU promises no more than
//! eight buffers to a kernel.

use std::ops::Range;

use crate::level_rois::{Axis, LevelRois, PlaneRoi};

/// Side of the squares of pixels that share a list of RoIs.
pub(super) const TILE: usize = 8;

/// Numbers per RoI before its bounds in [`PoolLists`].
pub(super) const POOL_HEAD: usize = 2;

/// Numbers per RoI in [`SpreadLists`].
const SPREAD_HEAD: usize = 7;

/// What each bin reads.
#[derive(Debug)]
pub(super) struct PoolLists {
    pub(super) num_rois: usize,
    /// Per RoI: row of the output, image, then the bounds of the `height` vertical bins
    /// (`height + 1` numbers) and of the `width` horizontal ones in `weights`. From
    /// `first_offset` on, beside each weight: the start of a row in its plane, or a column.
    pub(super) numbers: Vec<u32>,
    pub(super) first_offset: usize,
    pub(super) weights: Vec<f32>,
}

impl PoolLists {
    pub(super) fn new(level: &LevelRois) -> Self {
        let (mut heads, mut offsets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut add = |heads: &mut Vec<u32>, axis: &Axis, first: usize| {
            heads.push(offsets.len() as u32);
            for taps in axis.bins() {
                offsets.extend(taps.iter().map(|tap| tap.offset + first as u32));
                weights.extend(taps.iter().map(|tap| tap.weight));
                heads.push(offsets.len() as u32);
            }
        };
        let mut num_rois = 0;
        for (image, rois) in level.images.iter().enumerate() {
            for roi in rois {
                heads.extend([roi.row as u32, image as u32]);
                add(&mut heads, &roi.y, 0);
                add(&mut heads, &roi.x, roi.columns[0]);
                num_rois += 1;
            }
        }
        if weights.is_empty() {
            weights.push(0.0); // no device likes an empty buffer
        }
        let first_offset = heads.len();
        heads.append(&mut offsets);
        Self { num_rois, numbers: heads, first_offset, weights }
    }
}

/// Which bins read each pixel.
#[derive(Debug)]
pub(super) struct SpreadLists {
    /// One after the other, all places being places in this list unless said otherwise:
    /// - the bounds of the entries of each tile of [`TILE`] by [`TILE`] pixels, image by image
    /// - entries: the places of the RoIs that read in a tile, in order
    /// - per RoI: row of the output; first row read and the one after the last; the same for
    ///   columns; the places of the bounds of its rows and of its columns
    /// - the bounds of what reads each row, or column, in `weights`
    /// - from `first_bin` on, beside each weight: the bin, vertical ones times the number of
    ///   horizontal ones
    pub(super) numbers: Vec<u32>,
    pub(super) first_bin: usize,
    pub(super) weights: Vec<f32>,
}

impl SpreadLists {
    pub(super) fn new(level: &LevelRois) -> Self {
        let [batch_size, _, height, width] = level.features;
        let [tile_rows, tile_columns] = [height.div_ceil(TILE), width.div_ceil(TILE)];
        let mut readers = Readers::default();
        let mut tiles = vec![Vec::new(); batch_size * tile_rows * tile_columns];
        let mut rois: Vec<[usize; SPREAD_HEAD]> = Vec::new();
        for (image, of_image) in level.images.iter().enumerate() {
            for roi in of_image {
                let [(rows, row_bounds), (columns, column_bounds)] = readers.add(roi, level);
                for row in tiles_of(&rows) {
                    let first = (image * tile_rows + row) * tile_columns;
                    tiles_of(&columns).for_each(|column| tiles[first + column].push(rois.len()));
                }
                rois.push([
                    roi.row,
                    rows.start,
                    rows.end,
                    columns.start,
                    columns.end,
                    row_bounds,
                    column_bounds,
                ]);
            }
        }

        let first_entry = tiles.len() + 1;
        let first_roi = first_entry + tiles.iter().map(Vec::len).sum::<usize>();
        let first_bounds = first_roi + rois.len() * SPREAD_HEAD;
        let first_bin = first_bounds + readers.bounds.len();
        let mut numbers = Vec::with_capacity(first_bin + readers.bins.len());
        let mut place = first_entry;
        numbers.push(place as u32);
        for tile in &tiles {
            place += tile.len();
            numbers.push(place as u32);
        }
        let entries = tiles.iter().flatten();
        numbers.extend(entries.map(|roi| (first_roi + roi * SPREAD_HEAD) as u32));
        for [head @ .., row_bounds, column_bounds] in rois {
            let head: [usize; SPREAD_HEAD - 2] = head;
            numbers.extend(head.map(|number| number as u32));
            numbers.extend([row_bounds, column_bounds].map(|at| (first_bounds + at) as u32));
        }
        numbers.append(&mut readers.bounds);
        numbers.append(&mut readers.bins);
        if readers.weights.is_empty() {
            readers.weights.push(0.0); // no device likes an empty buffer
        }
        Self { numbers, first_bin, weights: readers.weights }
    }
}

/// The bins that read each row, and each column, of each RoI.
#[derive(Debug, Default)]
struct Readers {
    bounds: Vec<u32>,
    bins: Vec<u32>,
    weights: Vec<f32>,
}

impl Readers {
    /// Returns the rows and columns that the RoI reads, and where their bounds begin.
    fn add(&mut self, roi: &PlaneRoi, level: &LevelRois) -> [(Range<usize>, usize); 2] {
        let ([_, _, _, width], [_, _, _, out_width]) = (level.features, level.output);
        let rows = self.add_axis(&roi.y, out_width, |offset| offset / width);
        [rows, self.add_axis(&roi.x, 1, |offset| roi.columns[0] + offset)]
    }

    fn add_axis(
        &mut self,
        axis: &Axis,
        step: usize,
        pixel: impl Fn(usize) -> usize,
    ) -> (Range<usize>, usize) {
        let mut reads: Vec<(usize, u32, f32)> = Vec::new();
        for (bin, taps) in axis.bins().enumerate() {
            let read = |tap: &crate::level_rois::Tap| {
                (pixel(tap.offset as usize), (bin * step) as u32, tap.weight)
            };
            reads.extend(taps.iter().map(read));
        }
        reads.sort_by_key(|&(pixel, bin, _)| (pixel, bin));
        let first = reads.first().map_or(0, |read| read.0);
        let end = reads.last().map_or(first, |read| read.0 + 1);
        let bounds = self.bounds.len();
        let mut reads = reads.into_iter().peekable();
        for pixel in first..end {
            self.bounds.push(self.bins.len() as u32);
            while let Some((_, bin, weight)) = reads.next_if(|read| read.0 == pixel) {
                self.bins.push(bin);
                self.weights.push(weight);
            }
        }
        self.bounds.push(self.bins.len() as u32);
        (first..end, bounds)
    }
}

/// The tiles that a range of pixels touches.
fn tiles_of(pixels: &Range<usize>) -> Range<usize> {
    pixels.start / TILE..pixels.end.div_ceil(TILE)
}
