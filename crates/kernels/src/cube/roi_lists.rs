//! The lists that the RoIAlign kernels read, from the RoIs of one level.

use std::ops::Range;

use crate::level_rois::{Axis, LevelRois, PlaneRoi};

/// Side of the squares of pixels that share a list of RoIs.
pub(super) const TILE: usize = 8;

/// Numbers per RoI before its bounds in [`PoolLists::layout`].
pub(super) const POOL_HEAD: usize = 2;

/// Numbers per RoI in [`SpreadLists::rois`].
pub(super) const SPREAD_HEAD: usize = 7;

/// What each bin reads.
#[derive(Debug, Default)]
pub(super) struct PoolLists {
    /// Per RoI: row of the output, image, then the bounds in `offsets` of the `height` vertical
    /// bins (`height + 1` numbers) and of the `width` horizontal ones.
    pub(super) layout: Vec<u32>,
    /// Starts of rows in a plane, and columns.
    pub(super) offsets: Vec<u32>,
    pub(super) weights: Vec<f32>,
    pub(super) num_rois: usize,
}

impl PoolLists {
    pub(super) fn new(level: &LevelRois) -> Self {
        let mut lists = Self::default();
        for (image, rois) in level.images.iter().enumerate() {
            for roi in rois {
                lists.layout.extend([roi.row as u32, image as u32]);
                lists.add(&roi.y, 0);
                lists.add(&roi.x, roi.columns[0]);
                lists.num_rois += 1;
            }
        }
        // No device likes an empty buffer.
        if lists.offsets.is_empty() {
            lists.offsets.push(0);
            lists.weights.push(0.0);
        }
        lists
    }

    fn add(&mut self, axis: &Axis, first: usize) {
        self.layout.push(self.offsets.len() as u32);
        for taps in axis.bins() {
            self.offsets.extend(taps.iter().map(|tap| tap.offset + first as u32));
            self.weights.extend(taps.iter().map(|tap| tap.weight));
            self.layout.push(self.offsets.len() as u32);
        }
    }
}

/// Which bins read each pixel.
#[derive(Debug, Default)]
pub(super) struct SpreadLists {
    /// Bounds in `entries` of each tile of [`TILE`] by [`TILE`] pixels, image by image.
    pub(super) tiles: Vec<u32>,
    /// Indices of the RoIs that read in a tile, in order.
    pub(super) entries: Vec<u32>,
    /// Per RoI: row of the output; first row read and the one after the last; the same for columns;
    /// where its rows and its columns start in `bounds`.
    pub(super) rois: Vec<u32>,
    /// Bounds in `bins` of each row, or column, that is read.
    pub(super) bounds: Vec<u32>,
    /// The bins that read it, vertical ones times the number of horizontal ones.
    pub(super) bins: Vec<u32>,
    pub(super) weights: Vec<f32>,
}

impl SpreadLists {
    pub(super) fn new(level: &LevelRois) -> Self {
        let [_, _, height, width] = level.features;
        let [_, _, _, out_width] = level.output;
        let [tile_rows, tile_columns] = [height.div_ceil(TILE), width.div_ceil(TILE)];
        let mut lists = Self { tiles: vec![0], ..Default::default() };
        for rois in level.images.iter() {
            let mut of_tiles = vec![Vec::new(); tile_rows * tile_columns];
            for roi in rois {
                let index = (lists.rois.len() / SPREAD_HEAD) as u32;
                let [rows, columns] = lists.add_roi(roi, width, out_width);
                for row in tiles(&rows) {
                    for column in tiles(&columns) {
                        of_tiles[row * tile_columns + column].push(index);
                    }
                }
            }
            for of_tile in of_tiles {
                lists.entries.extend(of_tile);
                lists.tiles.push(lists.entries.len() as u32);
            }
        }
        for list in [&mut lists.entries, &mut lists.rois, &mut lists.bounds, &mut lists.bins] {
            if list.is_empty() {
                list.push(0);
            }
        }
        if lists.weights.is_empty() {
            lists.weights.push(0.0);
        }
        lists
    }

    /// Returns the rows and columns that the RoI reads.
    fn add_roi(&mut self, roi: &PlaneRoi, width: usize, out_width: usize) -> [Range<usize>; 2] {
        let (rows, row_start) = self.add_axis(&roi.y, |offset| offset / width, out_width);
        let first = roi.columns[0];
        let (columns, column_start) = self.add_axis(&roi.x, |offset| offset + first, 1);
        let head = [roi.row, rows.start, rows.end, columns.start, columns.end];
        self.rois.extend(head.map(|value| value as u32));
        self.rois.extend([row_start, column_start]);
        [rows, columns]
    }

    /// Lists the bins that read each pixel of an axis. Returns the pixels and where they start in
    /// `bounds`.
    fn add_axis(
        &mut self,
        axis: &Axis,
        pixel: impl Fn(usize) -> usize,
        step: usize,
    ) -> (Range<usize>, u32) {
        let bins = || axis.bins().enumerate();
        let reads = || bins().flat_map(|(bin, taps)| taps.iter().map(move |tap| (bin * step, tap)));
        let pixel = |offset: u32| pixel(offset as usize);
        let first = reads().map(|(_, tap)| pixel(tap.offset)).min().unwrap_or(0);
        let end = reads().map(|(_, tap)| pixel(tap.offset) + 1).max().unwrap_or(first);
        let start = self.bounds.len() as u32;
        let mut of_pixels = vec![Vec::new(); end - first];
        for (bin, tap) in reads() {
            of_pixels[pixel(tap.offset) - first].push((bin as u32, tap.weight));
        }
        self.bounds.push(self.bins.len() as u32);
        for of_pixel in of_pixels {
            self.bins.extend(of_pixel.iter().map(|&(bin, _)| bin));
            self.weights.extend(of_pixel.iter().map(|&(_, weight)| weight));
            self.bounds.push(self.bins.len() as u32);
        }
        (first..end, start)
    }
}

/// The tiles that a range of pixels touches.
fn tiles(pixels: &Range<usize>) -> Range<usize> {
    pixels.start / TILE..pixels.end.div_ceil(TILE)
}
