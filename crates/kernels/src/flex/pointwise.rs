//! The forward pass and the input gradient of a 1 x 1 convolution: a product of the weights with
//! the pixels of all images.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pixels::{Grid, Pack, offsets_of, pack_lanes};
use super::pool::Buffer;
use super::simd::MAX_LANES;

/// Packed pixels of a task, at most, unless one panel has more.
const TASK_VALUES: usize = 64 << 10;
/// Up to this many pixel values are packed at once before anything is multiplied.
const FEW_VALUES: usize = 1 << 20;
/// From so many pixels on weights of which the rows lie side by side are packed.
const MANY_PIXELS: usize = 512;
/// Tasks wanted per thread.
const TASKS_PER_THREAD: usize = 4;
/// Most rows and lanes of a block.
const MAX_ROWS: usize = 8;
const MAX_WIDTH: usize = 3 * MAX_LANES;

/// `target[n][m][pixel] = bias[m] + sum_c weight[m][c] * source[n][c][pixel]`
pub(super) struct Pointwise<'a> {
    pub(super) batch_size: usize,
    pub(super) source_channels: usize,
    pub(super) target_channels: usize,
    /// Both grids have the same pixels.
    pub(super) source_grid: Grid,
    pub(super) target_grid: Grid,
    pub(super) source: &'a [f32],
    pub(super) weight: &'a [f32],
    /// Distance between the weights of two target channels, and of two source channels.
    pub(super) weight_steps: [usize; 2],
    pub(super) bias: Option<&'a [f32]>,
    /// Added to the result, laid out as the target.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) is_relu: bool,
}

/// Some pixels in a row, a whole number of vectors but for the last panel.
#[derive(Clone, Debug)]
struct Panel {
    /// Pixels, counted through all images.
    pixels: Range<usize>,
    vectors: usize,
    /// Where its pixels start among all packed lanes.
    first_lane: usize,
}

struct Job<'a> {
    pointwise: &'a Pointwise<'a>,
    products: &'static Products,
    panels: Vec<Panel>,
    /// Rows of the weights that are multiplied together.
    blocks: Vec<Range<usize>>,
    /// Block after block as `[source channel][row]`, or the weights are used as they are.
    packed_weights: Option<Buffer>,
    target: Target,
    id: JobId,
}

impl Pointwise<'_> {
    /// Writes the pixels of the target grid.
    pub(super) fn run(&self, target: &mut [f32]) {
        let pixels = self.batch_size * self.source_grid.pixels;
        if pixels == 0 || self.target_channels == 0 {
            return;
        }
        let products = Products::get();
        let lanes = products.lanes;
        let panel = |vectors: Range<usize>| Panel {
            pixels: vectors.start * lanes..pixels.min(vectors.end * lanes),
            vectors: vectors.len(),
            first_lane: vectors.start * lanes,
        };
        let panels = parts(pixels.div_ceil(lanes), products.vectors).map(panel).collect();
        let blocks: Vec<Range<usize>> = parts(self.target_channels, products.rows).collect();
        let is_worth_it = self.weight_steps[0] == 1 && pixels >= MANY_PIXELS;
        let packed_weights = is_worth_it.then(|| self.pack_weights(&blocks));
        let (target, id) = (Target::new(target), JobId::unique());
        Job { pointwise: self, products, panels, blocks, packed_weights, target, id }.run();
    }

    /// Rows that lie side by side are far apart from one source channel to the next.
    fn pack_weights(&self, blocks: &[Range<usize>]) -> Buffer {
        let depth = self.source_channels;
        let mut packed = Buffer::new(depth * self.target_channels);
        let target = Target::new(packed.as_mut_slice());
        let pieces: Vec<Range<usize>> = parts(depth, 64).collect();
        for_each(pieces.len(), |piece| {
            for k in pieces[piece].clone() {
                let row = &self.weight[k * self.weight_steps[1]..][..self.target_channels];
                for block in blocks {
                    // SAFETY: these weights of this source channel belong to this task alone.
                    unsafe {
                        let start = block.start * depth + k * block.len();
                        target.part(start, block.len()).copy_from_slice(&row[block.clone()]);
                    }
                }
            }
        });
        packed
    }
}

impl Job<'_> {
    fn run(&self) {
        let depth = self.pointwise.source_channels;
        let lanes: usize =
            self.panels.iter().map(|panel| panel.vectors).sum::<usize>() * self.products.lanes;
        let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
        if lanes * depth <= FEW_VALUES || self.panels.len() < wanted {
            let mut packed = Buffer::new(lanes * depth);
            let shared = Target::new(packed.as_mut_slice());
            for_each(self.panels.len(), |index| {
                let panel = &self.panels[index];
                // SAFETY: every panel has its own part.
                unsafe { self.pack(panel, shared.pointer().add(panel.first_lane * depth)) }
            });
            let packed = packed.as_slice();
            let pieces = wanted.div_ceil(self.panels.len());
            let row_parts: Vec<Range<usize>> =
                parts(self.blocks.len(), self.blocks.len().div_ceil(pieces)).collect();
            for_each(row_parts.len() * self.panels.len(), |task| {
                let panel = &self.panels[task % self.panels.len()];
                let packed = packed[panel.first_lane * depth..].as_ptr();
                for rows in &self.blocks[row_parts[task / self.panels.len()].clone()] {
                    // SAFETY: packed above; no two tasks write the same pixels of the same
                    // channels.
                    unsafe { self.multiply(panel, rows, packed) }
                }
            });
        } else {
            let most = self.products.vectors * self.products.lanes * depth;
            let per_task = (TASK_VALUES / most).clamp(1, self.panels.len() / wanted);
            let groups: Vec<Range<usize>> = parts(self.panels.len(), per_task).collect();
            for_each(groups.len(), |task| {
                let panels = &self.panels[groups[task].clone()];
                with_scratch(self.id, [per_task * most, 0], |packed, _, _| {
                    let packed = packed.as_mut_ptr();
                    let start = |panel: &Panel| (panel.first_lane - panels[0].first_lane) * depth;
                    // SAFETY: the scratch has room for the panels; no two tasks write the same
                    // pixels.
                    unsafe {
                        for panel in panels {
                            self.pack(panel, packed.add(start(panel)));
                        }
                        for rows in &self.blocks {
                            for panel in panels {
                                self.multiply(panel, rows, packed.add(start(panel)));
                            }
                        }
                    }
                });
            });
        }
    }

    /// Pixels of all source channels, one row of lanes per channel.
    ///
    /// # Safety
    /// `to` must have room for them.
    unsafe fn pack(&self, panel: &Panel, to: *mut f32) {
        let pointwise = self.pointwise;
        let mut offsets = [0; MAX_WIDTH];
        let width = panel.vectors * self.products.lanes;
        let is_run = offsets_of(
            &pointwise.source_grid,
            pointwise.source_channels,
            &panel.pixels,
            &mut offsets[..width],
        );
        // SAFETY: the offsets lie in the first plane of every image, the other planes follow.
        unsafe {
            pack_lanes(&Pack {
                from: pointwise.source.as_ptr(),
                plane: pointwise.source_grid.plane,
                channels: pointwise.source_channels,
                offsets: &offsets[..width],
                count: panel.pixels.len(),
                is_run,
                to,
            });
        }
    }

    /// One block of target channels at the pixels of a panel.
    ///
    /// # Safety
    /// `packed` must hold the panel, and no other task may write these pixels.
    unsafe fn multiply(&self, panel: &Panel, rows: &Range<usize>, packed: *const f32) {
        let pointwise = self.pointwise;
        let grid = &pointwise.target_grid;
        let width = panel.vectors * self.products.lanes;
        let mut offsets = [0; MAX_WIDTH];
        let channels = pointwise.target_channels;
        let is_run = offsets_of(grid, channels, &panel.pixels, &mut offsets[..width]);
        let depth = pointwise.source_channels;
        let (a, a_steps) = match &self.packed_weights {
            Some(packed) => (packed.as_slice()[rows.start * depth..].as_ptr(), [1, rows.len()]),
            None => {
                let start = rows.start * pointwise.weight_steps[0];
                (pointwise.weight[start..].as_ptr(), pointwise.weight_steps)
            }
        };
        let block = Block {
            a,
            a_steps,
            b: packed,
            b_step: width,
            c: std::ptr::null_mut(),
            c_step: grid.plane,
            depth,
            runs: 1,
            run_steps: [0; 2],
            rows: rows.len(),
            vectors: panel.vectors,
            start: match pointwise.bias {
                Some(bias) => Start::Rows(bias[rows.start..].as_ptr()),
                None => Start::Zero,
            },
            residual: None,
            is_relu: false,
        };
        let start = rows.start * grid.plane;
        // SAFETY: all pixels and channels lie in the target and in the residual.
        unsafe {
            if is_run && panel.pixels.len() == width {
                let start = start + offsets[0];
                self.products.block(&Block {
                    c: self.target.pointer().add(start),
                    residual: pointwise.residual.map(|residual| residual[start..].as_ptr()),
                    is_relu: pointwise.is_relu,
                    ..block
                });
                return;
            }
            let mut sums = [0.0; MAX_ROWS * MAX_WIDTH];
            self.products.block(&Block { c: sums.as_mut_ptr(), c_step: width, ..block });
            for (row, sums) in sums.chunks_exact(width).take(rows.len()).enumerate() {
                let start = start + row * grid.plane;
                for (&sum, offset) in sums.iter().zip(&offsets[..panel.pixels.len()]) {
                    let addend = pointwise.residual.map_or(0.0, |values| values[start + offset]);
                    let sum = sum + addend;
                    let sum = if pointwise.is_relu && sum < 0.0 { 0.0 } else { sum };
                    *self.target.pointer().add(start + offset) = sum;
                }
            }
        }
    }
}
