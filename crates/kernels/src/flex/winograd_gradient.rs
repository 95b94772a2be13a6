//! The weight gradient of a 3 x 3 convolution by minimal filtering.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pool::Buffer;
use super::winograd::Scheme;
use super::winograd_filters::{Filters, drain_weight};
use super::winograd_pass::{Tiles, row_len};
use super::winograd_strip::{Strip, lift_gradient, lift_input};

/// Up to this many tiles are worked on at once.
const FEW_TILES: usize = 128;
/// Up to this many pairs of channels have sums that stay in cache.
const FEW_PAIRS: usize = 64 * 64;

/// `gradient[m][c] = sum over images and positions of output_gradient[m] * source[c]`.
pub(super) struct WinogradGradient<'a> {
    pub(super) scheme: Scheme,
    pub(super) batch_size: usize,
    pub(super) source_channels: usize,
    pub(super) target_channels: usize,
    pub(super) source_size: [usize; 2],
    pub(super) target_size: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) source: &'a [f32],
    pub(super) output_gradient: &'a [f32],
}

pub(super) struct Job<'a> {
    pub(super) gradient: &'a WinogradGradient<'a>,
    pub(super) products: &'static Products,
    pub(super) tiles: Tiles,
    /// Distance between transformed tiles of sources and of gradients.
    pub(super) rows: [usize; 2],
}

impl WinogradGradient<'_> {
    /// `[target_channels, source_channels, 9]`
    pub(super) fn run(&self) -> Buffer {
        let tiles = Tiles::new(self.scheme, self.batch_size, self.target_size);
        let len = self.target_channels * self.source_channels * 9;
        if tiles.count() == 0 || len == 0 {
            return Buffer::zeros(len);
        }
        let products = Products::get();
        let rows = [self.source_channels, self.target_channels]
            .map(|channels| row_len(channels, products.lanes));
        Job { gradient: self, products, tiles, rows }.run(len)
    }
}

impl Job<'_> {
    fn run(&self, len: usize) -> Buffer {
        let mut result = Buffer::new(len);
        let target = Target::new(result.as_mut_slice());
        let WinogradGradient { source_channels, target_channels, .. } = *self.gradient;
        if self.tiles.count() <= FEW_TILES {
            self.by_blocks(target);
        } else if source_channels * target_channels <= FEW_PAIRS {
            self.by_tiles(target);
        } else {
            self.by_positions(target);
        }
        result
    }

    pub(super) fn lanes(&self) -> usize {
        self.products.lanes
    }

    pub(super) fn positions(&self) -> usize {
        self.tiles.scheme.positions()
    }

    /// Few tiles: the sums of a block of channels at all positions stay in cache until they are
    /// transformed.
    fn by_blocks(&self, target: Target) {
        let lanes = self.lanes();
        let tiles = self.tiles.count();
        let [sources, gradients] = self.rows.map(|row| Buffer::new(self.positions() * tiles * row));
        let mut transformed = [sources, gradients];
        self.lift(&(0..self.tiles.strips), tiles, &mut transformed);
        let [sources, gradients] = transformed.each_ref().map(Buffer::as_slice);
        let vectors = self.gradient.target_channels.div_ceil(lanes);
        let panels: Vec<Range<usize>> = parts(vectors, 2).collect();
        let rows: Vec<Range<usize>> =
            parts(self.gradient.source_channels, self.products.rows).collect();
        let scratch = [self.positions() * self.products.rows * 2 * lanes, 0];
        for_each(panels.len() * rows.len(), |task| {
            let (panel, rows) = (&panels[task / rows.len()], &rows[task % rows.len()]);
            let width = panel.len() * lanes;
            with_scratch(JobId::unique(), scratch, |sums, _, _| {
                let sums = sums.as_mut_ptr();
                for position in 0..self.positions() {
                    let start = position * tiles;
                    // SAFETY: all tiles were transformed, and the scratch has room for the sums.
                    unsafe {
                        self.products.block(&Block {
                            a: sources[start * self.rows[0] + rows.start..].as_ptr(),
                            a_steps: [1, self.rows[0]],
                            b: gradients[start * self.rows[1] + panel.start * lanes..].as_ptr(),
                            b_step: self.rows[1],
                            c: sums.add(position * rows.len() * width),
                            c_step: width,
                            depth: tiles,
                            runs: 1,
                            run_steps: [0; 2],
                            rows: rows.len(),
                            vectors: panel.len(),
                            start: Start::Zero,
                            residual: None,
                            is_relu: false,
                        });
                    }
                }
                for vector in panel.clone() {
                    // SAFETY: the gradients of these channels belong to this task alone.
                    unsafe {
                        let from = sums.add((vector - panel.start) * lanes);
                        self.drain(target, rows, vector, from, [width, rows.len() * width]);
                    }
                }
            });
        });
    }

    /// All blocks of channels of one strip.
    ///
    /// # Safety
    /// There must be room for its tiles, and for the buffer of a strip.
    pub(super) unsafe fn lift_strip(
        &self,
        strip: usize,
        tile: usize,
        transformed: [*mut f32; 2],
        most_tiles: usize,
        buffer: *mut f32,
    ) {
        let lanes = self.lanes();
        let WinogradGradient { source_channels, target_channels, .. } = *self.gradient;
        // SAFETY: by the caller.
        unsafe {
            for block in 0..source_channels.div_ceil(lanes) {
                let to = transformed[0].add(tile * self.rows[0] + block * lanes);
                lift_input(&self.strip(strip, block, false, to, most_tiles, buffer));
            }
            for block in 0..target_channels.div_ceil(lanes) {
                let to = transformed[1].add(tile * self.rows[1] + block * lanes);
                lift_gradient(&self.strip(strip, block, true, to, most_tiles, buffer));
            }
        }
    }

    /// Transforms the sums of all positions, `[position][source][target]`, into gradients.
    pub(super) fn drain_all(
        &self,
        target: Target,
        sums: Target,
        width: usize,
        position_len: usize,
    ) {
        let lanes = self.lanes();
        let vectors = self.gradient.target_channels.div_ceil(lanes);
        let rows: Vec<Range<usize>> = parts(self.gradient.source_channels, 32).collect();
        for_each(vectors * rows.len(), |task| {
            let (vector, rows) = (task / rows.len(), &rows[task % rows.len()]);
            // SAFETY: the gradients of these channels belong to this task alone.
            unsafe {
                let from = sums.pointer().add(rows.start * width + vector * lanes);
                self.drain(target, rows, vector, from, [width, position_len]);
            }
        });
    }

    /// # Safety
    /// `values` must hold the sums, and no other task may write the gradients of these channels.
    unsafe fn drain(
        &self,
        target: Target,
        rows: &Range<usize>,
        vector: usize,
        values: *mut f32,
        [depth_step, position_step]: [usize; 2],
    ) {
        let first = vector * self.products.lanes;
        let row_len = self.gradient.source_channels * 9;
        // SAFETY: the kernels of these channels lie in the target.
        unsafe {
            drain_weight(&Filters {
                scheme: self.tiles.scheme,
                weight: target.pointer().add(first * row_len + rows.start * 9),
                steps: [row_len, 9],
                lanes: self.products.lanes.min(self.gradient.target_channels - first),
                depth: rows.len(),
                is_flipped: false,
                values,
                depth_step,
                position_step,
            });
        }
    }

    /// Transforms the sources and output gradients of a chunk of strips.
    pub(super) fn lift(
        &self,
        chunk: &Range<usize>,
        most_tiles: usize,
        transformed: &mut [Buffer; 2],
    ) {
        let lanes = self.products.lanes;
        let WinogradGradient { source_channels, target_channels, .. } = *self.gradient;
        let blocks = [source_channels, target_channels].map(|channels| channels.div_ceil(lanes));
        let buffer_len = Strip::buffer_len(self.tiles.scheme, self.tiles.grid[1], lanes);
        let [sources, gradients] =
            transformed.each_mut().map(|buffer| Target::new(buffer.as_mut_slice()));
        // One block of channels after the other, strips apart where there are many.
        let pieces: Vec<Range<usize>> = parts(chunk.len(), 8).collect();
        for_each((blocks[0] + blocks[1]) * pieces.len(), |task| {
            let (block, piece) = (task / pieces.len(), &pieces[task % pieces.len()]);
            with_scratch(JobId::unique(), [0, buffer_len], |_, buffer, _| {
                for index in piece.clone() {
                    let strip = chunk.start + index;
                    let tile = index * self.tiles.grid[1];
                    let buffer = buffer.as_mut_ptr();
                    // SAFETY: the tiles of this block of channels belong to this task alone.
                    unsafe {
                        if block < blocks[0] {
                            let to = sources.pointer().add(tile * self.rows[0] + block * lanes);
                            lift_input(&self.strip(strip, block, false, to, most_tiles, buffer));
                        } else {
                            let block = block - blocks[0];
                            let to = gradients.pointer().add(tile * self.rows[1] + block * lanes);
                            lift_gradient(&self.strip(strip, block, true, to, most_tiles, buffer));
                        }
                    }
                }
            });
        });
    }

    fn strip(
        &self,
        strip: usize,
        block: usize,
        is_gradient: bool,
        values: *mut f32,
        most_tiles: usize,
        buffer: *mut f32,
    ) -> Strip {
        let gradient = self.gradient;
        let (planes, channels, size, padding) = if is_gradient {
            (gradient.output_gradient, gradient.target_channels, gradient.target_size, [0; 2])
        } else {
            (gradient.source, gradient.source_channels, gradient.source_size, gradient.padding)
        };
        let [image, row] = self.tiles.place(strip);
        let first = block * self.products.lanes;
        let row_len = self.rows[usize::from(is_gradient)];
        Strip {
            scheme: self.tiles.scheme,
            planes: planes[(image * channels + first) * size[0] * size[1]..].as_ptr().cast_mut(),
            channels: self.products.lanes.min(channels - first),
            size,
            first: [row as isize - padding[0] as isize, -(padding[1] as isize)],
            tiles: self.tiles.grid[1],
            values,
            tile_step: row_len,
            position_step: most_tiles * row_len,
            buffer,
        }
    }
}
