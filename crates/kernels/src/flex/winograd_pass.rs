//! The forward pass and the input gradient of a 3 x 3 convolution by minimal filtering.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pool::Buffer;
use super::winograd::{Drain, Filters, Scheme, Strip, drain_output, lift_input, lift_weight};

/// At most this many tiles are transformed all at once before anything is multiplied.
const FEW_TILES: usize = 160;
/// Transformed weights of a panel worked on at a time.
const PANEL_VALUES: usize = 128 << 10;
/// Tiles of a task, about.
const TASK_TILES: usize = 56;
/// What a task costs besides its tiles, in tiles: it reads all weights.
const TASK_COST: usize = 8;
/// Values between rows that would otherwise be a power of two apart.
const SKEW: usize = 16;

/// `target[n][m] = bias[m] + sum_c source[n][c] * weight[m][c]` for 3 x 3 kernels and stride 1.
pub(super) struct WinogradPass<'a> {
    pub(super) scheme: Scheme,
    pub(super) batch_size: usize,
    pub(super) source_channels: usize,
    pub(super) target_channels: usize,
    pub(super) source_size: [usize; 2],
    pub(super) target_size: [usize; 2],
    /// Zeros around the source: at most 2.
    pub(super) padding: [usize; 2],
    pub(super) source: &'a [f32],
    pub(super) weight: &'a [f32],
    /// Distance between the kernels of two target channels, and of two source channels.
    pub(super) weight_steps: [usize; 2],
    pub(super) is_flipped: bool,
    pub(super) bias: Option<&'a [f32]>,
    /// Added to the result, laid out as the target.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) is_relu: bool,
}

/// Rows of tiles of a batch of planes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub(super) scheme: Scheme,
    /// Rows of tiles per image, tiles per row.
    pub(super) grid: [usize; 2],
    /// Rows of tiles of all images.
    pub(super) strips: usize,
}

impl Tiles {
    pub(super) fn new(scheme: Scheme, batch_size: usize, size: [usize; 2]) -> Self {
        let grid = size.map(|size| size.div_ceil(scheme.tile()));
        Self { scheme, grid, strips: batch_size * grid[0] }
    }

    pub(super) fn count(&self) -> usize {
        self.strips * self.grid[1]
    }

    /// Image and first row of pixels of a strip.
    pub(super) fn place(&self, strip: usize) -> [usize; 2] {
        [strip / self.grid[0], strip % self.grid[0] * self.scheme.tile()]
    }
}

/// Distance between rows of `channels` transformed values.
pub(super) fn row_len(channels: usize, lanes: usize) -> usize {
    let len = channels.next_multiple_of(lanes);
    if len.is_multiple_of(256) { len + SKEW } else { len }
}

/// Vectors of target channels that are worked on together.
struct Panels {
    panels: Vec<Range<usize>>,
}

impl Panels {
    fn new(vectors: usize, most: usize) -> Self {
        Self { panels: parts(vectors, most).collect() }
    }
}

impl WinogradPass<'_> {
    /// Writes all of `target`.
    pub(super) fn run(&self, target: &mut [f32]) {
        let tiles = Tiles::new(self.scheme, self.batch_size, self.target_size);
        if tiles.count() == 0 || self.target_channels == 0 {
            return;
        }
        let products = Products::get();
        let vectors = self.target_channels.div_ceil(products.lanes);
        let job = Job {
            pass: self,
            products,
            tiles,
            panels: Panels::new(vectors, products.vectors).panels,
            vectors,
            source_row: row_len(self.source_channels, products.lanes),
            bias: self.padded_bias(vectors * products.lanes),
            target: Target::new(target),
            id: JobId::unique(),
        };
        if tiles.count() <= FEW_TILES {
            job.by_panels();
        } else {
            job.by_tiles();
        }
    }

    fn padded_bias(&self, len: usize) -> Option<Vec<f32>> {
        self.bias.map(|bias| {
            let mut padded = bias.to_vec();
            padded.resize(len, 0.0);
            padded
        })
    }
}

struct Job<'a> {
    pass: &'a WinogradPass<'a>,
    products: &'static Products,
    tiles: Tiles,
    panels: Vec<Range<usize>>,
    /// Vectors of target channels.
    vectors: usize,
    /// Distance between tiles of transformed sources.
    source_row: usize,
    bias: Option<Vec<f32>>,
    target: Target,
    id: JobId,
}

impl Job<'_> {
    fn lanes(&self) -> usize {
        self.products.lanes
    }

    fn positions(&self) -> usize {
        self.tiles.scheme.positions()
    }

    fn buffer_len(&self) -> usize {
        Strip::buffer_len(self.tiles.scheme, self.tiles.grid[1], self.lanes())
    }

    /// Transforms one strip of one block of source channels to `values`, where its first tile and
    /// first channel lie.
    ///
    /// # Safety
    /// `values` and `buffer` must have room for it.
    unsafe fn lift(
        &self,
        strip: usize,
        block: usize,
        values: *mut f32,
        position_step: usize,
        buffer: *mut f32,
    ) {
        let pass = self.pass;
        let [image, row] = self.tiles.place(strip);
        let first = block * self.lanes();
        let plane = pass.source_size[0] * pass.source_size[1];
        let start = (image * pass.source_channels + first) * plane;
        let planes = pass.source[start..].as_ptr().cast_mut();
        // SAFETY: the planes of these channels lie in the source, which is only read.
        unsafe {
            lift_input(&Strip {
                scheme: self.tiles.scheme,
                planes,
                channels: self.lanes().min(pass.source_channels - first),
                size: pass.source_size,
                first: [row as isize - pass.padding[0] as isize, -(pass.padding[1] as isize)],
                tiles: self.tiles.grid[1],
                values,
                tile_step: self.source_row,
                position_step,
                buffer,
            });
        }
    }

    /// Writes one strip of one block of target channels.
    ///
    /// # Safety
    /// `values` must hold it, `buffer` must have room, and no other task may write this strip.
    unsafe fn drain(
        &self,
        strip: usize,
        block: usize,
        values: *mut f32,
        [tile_step, position_step]: [usize; 2],
        buffer: *mut f32,
    ) {
        let pass = self.pass;
        let [image, row] = self.tiles.place(strip);
        let first = block * self.lanes();
        let plane = pass.target_size[0] * pass.target_size[1];
        let start = (image * pass.target_channels + first) * plane;
        // SAFETY: the planes of these channels lie in the target and in the residual.
        unsafe {
            drain_output(&Drain {
                strip: Strip {
                    scheme: self.tiles.scheme,
                    planes: self.target.pointer().add(start),
                    channels: self.lanes().min(pass.target_channels - first),
                    size: pass.target_size,
                    first: [row as isize, 0],
                    tiles: self.tiles.grid[1],
                    values,
                    tile_step,
                    position_step,
                    buffer,
                },
                bias: self.bias.as_ref().map(|bias| bias[first..].as_ptr()),
                residual: pass.residual.map(|residual| residual[start..].as_ptr()),
                is_relu: pass.is_relu,
            });
        }
    }

    /// Transforms the kernels of one vector of target channels and some source channels.
    ///
    /// # Safety
    /// `values` must have room for them.
    unsafe fn lift_weight(
        &self,
        vector: usize,
        channels: &Range<usize>,
        values: *mut f32,
        [depth_step, position_step]: [usize; 2],
    ) {
        let pass = self.pass;
        let first = vector * self.lanes();
        let start = first * pass.weight_steps[0] + channels.start * pass.weight_steps[1];
        // SAFETY: these kernels lie in the weights, which are only read.
        unsafe {
            lift_weight(&Filters {
                scheme: self.tiles.scheme,
                weight: pass.weight[start..].as_ptr().cast_mut(),
                steps: pass.weight_steps,
                lanes: self.lanes().min(pass.target_channels - first),
                depth: channels.len(),
                is_flipped: pass.is_flipped,
                values,
                depth_step,
                position_step,
            });
        }
    }

    /// Many tiles: weights first, then tasks of a few strips each.
    fn by_tiles(&self) {
        let lanes = self.lanes();
        let depth = self.pass.source_channels;
        let target_row = self.vectors * lanes;
        let position_len = depth * target_row;
        let mut weights = Buffer::new(self.positions() * position_len);
        let shared = Target::new(weights.as_mut_slice());
        let pieces: Vec<Range<usize>> = parts(depth, 64).collect();
        for_each(self.panels.len() * pieces.len(), |task| {
            let (panel, piece) = (&self.panels[task / pieces.len()], &pieces[task % pieces.len()]);
            for vector in panel.clone() {
                let start = panel.start * lanes * depth
                    + piece.start * panel.len() * lanes
                    + (vector - panel.start) * lanes;
                // SAFETY: these rows of this vector of this panel belong to this task alone.
                unsafe {
                    let values = shared.pointer().add(start);
                    let steps = [panel.len() * lanes, position_len];
                    self.lift_weight(vector, piece, values, steps);
                }
            }
        });
        let weights = weights.as_slice();
        let strips_per_task = self.strips_per_task();
        let most_tiles = strips_per_task * self.tiles.grid[1];
        let source_len = self.positions() * most_tiles * self.source_row;
        let target_step = row_len(target_row, lanes);
        let target_len = self.positions() * most_tiles * target_step;
        let tasks = self.tiles.strips.div_ceil(strips_per_task);
        let scratch = [source_len + target_len, self.buffer_len()];
        for_each(tasks, |task| {
            let strips =
                task * strips_per_task..self.tiles.strips.min((task + 1) * strips_per_task);
            with_scratch(self.id, scratch, |values, buffer, _| {
                let (sources, targets) = values.split_at_mut(source_len);
                let (sources, targets) = (sources.as_mut_ptr(), targets.as_mut_ptr());
                let buffer = buffer.as_mut_ptr();
                let tiles = self.tiles.grid[1];
                // SAFETY: the scratch has room for the tiles of a task; strips are written by one
                // task each.
                unsafe {
                    for (index, strip) in strips.clone().enumerate() {
                        for block in 0..depth.div_ceil(lanes) {
                            let to = sources.add(index * tiles * self.source_row + block * lanes);
                            self.lift(strip, block, to, most_tiles * self.source_row, buffer);
                        }
                    }
                    for position in 0..self.positions() {
                        for panel in &self.panels {
                            let weights =
                                &weights[position * position_len + panel.start * lanes * depth..];
                            let block = Block {
                                a: sources.add(position * most_tiles * self.source_row),
                                a_steps: [self.source_row, 1],
                                b: weights.as_ptr(),
                                b_step: panel.len() * lanes,
                                c: targets
                                    .add(position * most_tiles * target_step + panel.start * lanes),
                                c_step: target_step,
                                depth,
                                runs: 1,
                                run_steps: [0; 2],
                                rows: 0,
                                vectors: panel.len(),
                                start: Start::Zero,
                                residual: None,
                                is_relu: false,
                            };
                            self.products.rows(&block, strips.len() * tiles);
                        }
                    }
                    for (index, strip) in strips.clone().enumerate() {
                        for block in 0..self.vectors {
                            let from = targets.add(index * tiles * target_step + block * lanes);
                            let steps = [target_step, most_tiles * target_step];
                            self.drain(strip, block, from, steps, buffer);
                        }
                    }
                }
            });
        });
    }

    /// The split with the shortest longest thread.
    fn strips_per_task(&self) -> usize {
        let threads = rayon::current_num_threads();
        let tiles = self.tiles.grid[1];
        let most = (TASK_TILES / tiles).clamp(1, self.tiles.strips);
        let cost = |&strips: &usize| {
            let rounds = self.tiles.strips.div_ceil(strips).div_ceil(threads);
            rounds * (strips * tiles + TASK_COST)
        };
        (1..=most).rev().min_by_key(cost).unwrap_or(1)
    }

    /// Few tiles: sources first, then tasks of a panel of target channels each, which transform
    /// the weights they need.
    fn by_panels(&self) {
        let lanes = self.lanes();
        let depth = self.pass.source_channels;
        let tiles = self.tiles.count();
        let position_len = tiles * self.source_row;
        let mut sources = Buffer::new(self.positions() * position_len);
        let shared = Target::new(sources.as_mut_slice());
        let blocks = depth.div_ceil(lanes);
        for_each(blocks, |block| {
            with_scratch(JobId::unique(), [0, self.buffer_len()], |_, buffer, _| {
                for strip in 0..self.tiles.strips {
                    let start = strip * self.tiles.grid[1] * self.source_row + block * lanes;
                    // SAFETY: this block of channels is written by this task alone.
                    unsafe {
                        let to = shared.pointer().add(start);
                        self.lift(strip, block, to, position_len, buffer.as_mut_ptr());
                    }
                }
            });
        });
        let sources = sources.as_slice();
        let widest = self.products.vectors.min(2) * lanes;
        let panels = Panels::new(self.vectors, 2).panels;
        let most_depth = (PANEL_VALUES / (self.positions() * widest)).max(lanes);
        let pieces: Vec<Range<usize>> = parts(depth, most_depth).collect();
        let weights_len = self.positions() * pieces[0].len() * widest;
        let scratch = [weights_len + self.positions() * tiles * widest, self.buffer_len()];
        for_each(panels.len(), |task| {
            let panel = &panels[task];
            let width = panel.len() * lanes;
            with_scratch(self.id, scratch, |values, buffer, _| {
                let (weights, targets) = values.split_at_mut(weights_len);
                let (weights, targets) = (weights.as_mut_ptr(), targets.as_mut_ptr());
                for piece in &pieces {
                    let piece_len = piece.len() * width;
                    // SAFETY: the scratch has room for a piece of the weights of a panel and for
                    // the products of all tiles with it.
                    unsafe {
                        for vector in panel.clone() {
                            let to = weights.add((vector - panel.start) * lanes);
                            self.lift_weight(vector, piece, to, [width, piece_len]);
                        }
                        for position in 0..self.positions() {
                            let block = Block {
                                a: sources[position * position_len + piece.start..].as_ptr(),
                                a_steps: [self.source_row, 1],
                                b: weights.add(position * piece_len),
                                b_step: width,
                                c: targets.add(position * tiles * width),
                                c_step: width,
                                depth: piece.len(),
                                runs: 1,
                                run_steps: [0; 2],
                                rows: 0,
                                vectors: panel.len(),
                                start: if piece.start == 0 { Start::Zero } else { Start::Output },
                                residual: None,
                                is_relu: false,
                            };
                            self.products.rows(&block, tiles);
                        }
                    }
                }
                for strip in 0..self.tiles.strips {
                    for vector in panel.clone() {
                        let start =
                            strip * self.tiles.grid[1] * width + (vector - panel.start) * lanes;
                        // SAFETY: the planes of these channels are written by this task alone.
                        unsafe {
                            let from = targets.add(start);
                            let steps = [width, tiles * width];
                            self.drain(strip, vector, from, steps, buffer.as_mut_ptr());
                        }
                    }
                }
            });
        });
    }
}
