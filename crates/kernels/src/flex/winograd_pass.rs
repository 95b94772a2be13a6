//! The forward pass and the input gradient of a 3 x 3 convolution by minimal filtering.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Products, parts};
use super::parallel::{JobId, Target};
use super::winograd::Scheme;
use super::winograd_filters::{Filters, lift_weight};
use super::winograd_strip::{Drain, Strip, drain_output, lift_input};

/// At most this many tiles are transformed all at once before anything is multiplied.
const FEW_TILES: usize = 160;
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
            panels: parts(vectors, products.vectors).collect(),
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

pub(super) struct Job<'a> {
    pub(super) pass: &'a WinogradPass<'a>,
    pub(super) products: &'static Products,
    pub(super) tiles: Tiles,
    pub(super) panels: Vec<Range<usize>>,
    /// Vectors of target channels.
    pub(super) vectors: usize,
    /// Distance between tiles of transformed sources.
    pub(super) source_row: usize,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) target: Target,
    pub(super) id: JobId,
}

impl Job<'_> {
    pub(super) fn lanes(&self) -> usize {
        self.products.lanes
    }

    pub(super) fn positions(&self) -> usize {
        self.tiles.scheme.positions()
    }

    pub(super) fn buffer_len(&self) -> usize {
        Strip::buffer_len(self.tiles.scheme, self.tiles.grid[1], self.lanes())
    }

    /// Transforms one strip of one block of source channels to `values`, where its first tile and
    /// first channel lie.
    ///
    /// # Safety
    /// `values` and `buffer` must have room for it.
    pub(super) unsafe fn lift(
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
    pub(super) unsafe fn drain(
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
    pub(super) unsafe fn lift_weight(
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
}
