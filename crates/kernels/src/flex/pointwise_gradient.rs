//! The weight gradient of a 1 x 1 convolution: a product of output gradients with transposed
//! pixels.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]
#![allow(clippy::needless_range_loop, reason = "indices keep whole blocks in registers")]

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pixels::Grid;
use super::pool::Buffer;
use super::simd::{MAX_LANES, Simd, dispatch};

/// Partial sums, at most. A fixed number, so that the result does not depend on the threads.
const MAX_CHUNKS: usize = 8;
/// Values of all partial sums together, at most, where there is more than one.
const MAX_PARTIAL_VALUES: usize = 1 << 20;
/// Pixels multiplied at a time.
const MAX_DEPTH: usize = 256;
/// Pixel values packed at a time.
const PACKED_VALUES: usize = 128 << 10;

/// `gradient[m][c] = sum over images and pixels of output_gradient[m] * source[c]`
pub(super) struct PointwiseGradient<'a> {
    pub(super) batch_size: usize,
    pub(super) source_channels: usize,
    pub(super) target_channels: usize,
    /// Pixels of the source that were seen; those of the output gradient are dense.
    pub(super) source_grid: Grid,
    pub(super) source: &'a [f32],
    pub(super) output_gradient: &'a [f32],
}

impl PointwiseGradient<'_> {
    /// `[target_channels, source_channels]`
    pub(super) fn run(&self) -> Buffer {
        let (rows, columns) = (self.target_channels, self.source_channels);
        let pixels = self.source_grid.pixels;
        if rows * columns == 0 || self.batch_size * pixels == 0 {
            return Buffer::zeros(rows * columns);
        }
        let products = Products::get();
        let lanes = products.lanes;
        let vectors = columns.div_ceil(lanes);
        let width = vectors * lanes;
        // Pieces of one image each, and chunks of pieces.
        let per_image: Vec<Range<usize>> = parts(pixels, MAX_DEPTH).collect();
        let pieces = self.batch_size * per_image.len();
        let chunks = (MAX_PARTIAL_VALUES / (rows * width)).clamp(1, MAX_CHUNKS).min(pieces);
        let most_depth = per_image[0].len();
        let most_vectors = (PACKED_VALUES / (most_depth * lanes)).max(1);
        let groups = MAX_CHUNKS.div_ceil(chunks);
        let groups: Vec<Range<usize>> =
            parts(vectors, vectors.div_ceil(groups).min(most_vectors)).collect();
        let scratch = [groups[0].len() * lanes * most_depth, 0];
        let mut sums = Buffer::new(chunks * rows * width);
        let shared = Target::new(sums.as_mut_slice());
        let id = JobId::unique();
        for_each(chunks * groups.len(), |task| {
            let (chunk, group) = (task / groups.len(), &groups[task % groups.len()]);
            with_scratch(id, scratch, |packed, _, _| {
                let packed = packed.as_mut_ptr();
                let pieces = pieces * chunk / chunks..pieces * (chunk + 1) / chunks;
                for piece in pieces.clone() {
                    let (image, pixels) =
                        (piece / per_image.len(), &per_image[piece % per_image.len()]);
                    let depth = pixels.len();
                    let panels = parts(group.len(), products.vectors);
                    for panel in panels {
                        let vectors = group.start + panel.start..group.start + panel.end;
                        let start = panel.start * lanes * depth;
                        let block = Block {
                            a: self.output_gradient
                                [image * rows * self.source_grid.pixels + pixels.start..]
                                .as_ptr(),
                            a_steps: [self.source_grid.pixels, 1],
                            // SAFETY: the scratch has room for all panels of the group.
                            b: unsafe { packed.add(start) },
                            b_step: panel.len() * lanes,
                            // SAFETY: within the sums of this chunk.
                            c: unsafe {
                                shared.pointer().add(chunk * rows * width + vectors.start * lanes)
                            },
                            c_step: width,
                            depth,
                            runs: 1,
                            run_steps: [0; 2],
                            rows: 0,
                            vectors: panel.len(),
                            start: if piece == pieces.start { Start::Zero } else { Start::Output },
                            residual: None,
                            is_relu: false,
                        };
                        // SAFETY: packed first; the sums of these columns of this chunk belong to
                        // this task alone.
                        unsafe {
                            self.pack(image, pixels, &vectors, packed.add(start));
                            products.rows(&block, rows);
                        }
                    }
                }
            });
        });
        self.total(&sums, chunks, width)
    }

    /// Adds the chunks in their order and drops the columns that fill up vectors.
    fn total(&self, sums: &Buffer, chunks: usize, width: usize) -> Buffer {
        let (rows, columns) = (self.target_channels, self.source_channels);
        let mut total = Buffer::new(rows * columns);
        let sums = sums.as_slice();
        total.as_mut_slice().par_chunks_mut(8 * columns).enumerate().for_each(|(index, total)| {
            for (row, total) in total.chunks_exact_mut(columns).enumerate() {
                let start = (8 * index + row) * width;
                total.copy_from_slice(&sums[start..start + columns]);
                for chunk in 1..chunks {
                    let start = chunk * rows * width + start;
                    let values = &sums[start..start + columns];
                    total.iter_mut().zip(values).for_each(|(total, value)| *total += value);
                }
            }
        });
        total
    }

    /// `to[pixel][channel]` for some vectors of channels.
    ///
    /// # Safety
    /// `to` must have room for them.
    unsafe fn pack(
        &self,
        image: usize,
        pixels: &Range<usize>,
        vectors: &Range<usize>,
        to: *mut f32,
    ) {
        let lanes = Products::get().lanes;
        for vector in vectors.clone() {
            let first = vector * lanes;
            let start = (image * self.source_channels + first) * self.source_grid.plane;
            // SAFETY: these channels lie in the source.
            unsafe {
                transpose_lanes(&Transposed {
                    from: self.source[start..].as_ptr(),
                    grid: &self.source_grid,
                    channels: lanes.min(self.source_channels - first),
                    pixels,
                    to: to.add((vector - vectors.start) * lanes),
                    step: vectors.len() * lanes,
                });
            }
        }
    }
}

/// One vector of channels: `to[pixel * step + channel] = from[channel][pixel]`.
pub(super) struct Transposed<'a> {
    pub(super) from: *const f32,
    pub(super) grid: &'a Grid,
    pub(super) channels: usize,
    pub(super) pixels: &'a Range<usize>,
    pub(super) to: *mut f32,
    pub(super) step: usize,
}

#[inline(always)]
unsafe fn transpose_body<S: Simd>(job: &Transposed) {
    // SAFETY: the caller vouches for every pointer.
    unsafe {
        let grid = job.grid;
        let is_dense = grid.is_dense();
        let mut pixel = job.pixels.start;
        let mut to = job.to;
        while pixel < job.pixels.end {
            let count = S::LANES.min(job.pixels.end - pixel);
            let mut block = [S::splat(0.0); MAX_LANES];
            if is_dense && count == S::LANES && job.channels == S::LANES {
                for channel in 0..S::LANES {
                    block[channel] = S::load(job.from.add(channel * grid.plane + pixel));
                }
            } else if is_dense {
                for channel in 0..S::LANES {
                    if channel < job.channels {
                        let from = job.from.add(channel * grid.plane + pixel);
                        block[channel] = S::load_part(from, count);
                    }
                }
            } else {
                let mut offsets = [0; MAX_LANES];
                for lane in 0..count {
                    offsets[lane] = grid.offset(pixel + lane);
                }
                for channel in 0..S::LANES {
                    if channel < job.channels {
                        let mut values = [0.0; MAX_LANES];
                        for lane in 0..count {
                            values[lane] = *job.from.add(channel * grid.plane + offsets[lane]);
                        }
                        block[channel] = S::load(values.as_ptr());
                    }
                }
            }
            S::transpose(&mut block);
            for lane in 0..count {
                block[lane].store(to.add(lane * job.step));
            }
            to = to.add(count * job.step);
            pixel += count;
        }
    }
}

dispatch! {
    /// # Safety
    /// The pointers must cover what is described.
    pub(super) unsafe fn transpose_lanes(job: &Transposed<'_>) = transpose_body
}
