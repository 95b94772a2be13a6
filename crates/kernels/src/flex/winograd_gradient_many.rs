//! The weight gradient of many tiles.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Block, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pool::Buffer;
use super::winograd_gradient::{Job, WinogradGradient};
use super::winograd_pass::row_len;
use super::winograd_strip::Strip;

/// Partial sums, at most. A fixed number, so that the result does not depend on the threads.
const MAX_CHUNKS: usize = 16;
/// Tiles worked on together, about.
const BLOCK_TILES: usize = 40;
/// Tiles of one long sum.
const PART_TILES: usize = 128;
/// Values that a task adds up at a time.
const PIECE: usize = 16 << 10;
/// Transformed values of one position held at a time.
const CHUNK_VALUES: usize = 128 << 10;

impl Job<'_> {
    /// Many tiles, few channels: every task sums its own tiles.
    pub(super) fn by_tiles(&self, target: Target) {
        let lanes = self.lanes();
        let WinogradGradient { source_channels, target_channels, .. } = *self.gradient;
        let positions = self.positions();
        let vectors = target_channels.div_ceil(lanes);
        let width = row_len(target_channels, lanes);
        let position_len = source_channels * width;
        let chunks: Vec<Range<usize>> =
            parts(self.tiles.strips, self.tiles.strips.div_ceil(MAX_CHUNKS)).collect();
        let mut sums = Buffer::new(chunks.len() * positions * position_len);
        let shared = Target::new(sums.as_mut_slice());
        let strips = (BLOCK_TILES / self.tiles.grid[1]).max(1);
        let most_tiles = strips * self.tiles.grid[1];
        let lens = self.rows.map(|row| positions * most_tiles * row);
        let buffer_len = Strip::buffer_len(self.tiles.scheme, self.tiles.grid[1], lanes);
        let panels: Vec<Range<usize>> = parts(vectors, self.products.vectors).collect();
        let id = JobId::unique();
        for_each(chunks.len(), |index| {
            let chunk = &chunks[index];
            with_scratch(id, [lens[0] + lens[1], buffer_len], |values, buffer, _| {
                let (sources, gradients) = values.split_at_mut(lens[0]);
                let transformed = [sources.as_mut_ptr(), gradients.as_mut_ptr()];
                for block in parts(chunk.len(), strips) {
                    let strips = chunk.start + block.start..chunk.start + block.end;
                    // SAFETY: the scratch has room for the tiles of a block; the sums of this chunk
                    // belong to this task alone.
                    unsafe {
                        for (index, strip) in strips.clone().enumerate() {
                            let tile = index * self.tiles.grid[1];
                            let buffer = buffer.as_mut_ptr();
                            self.lift_strip(strip, tile, transformed, most_tiles, buffer);
                        }
                        for position in 0..positions {
                            for panel in &panels {
                                let start = position * most_tiles;
                                let sums = (index * positions + position) * position_len
                                    + panel.start * lanes;
                                let block = Block {
                                    a: transformed[0].add(start * self.rows[0]),
                                    a_steps: [1, self.rows[0]],
                                    b: transformed[1]
                                        .add(start * self.rows[1] + panel.start * lanes),
                                    b_step: self.rows[1],
                                    c: shared.pointer().add(sums),
                                    c_step: width,
                                    depth: strips.len() * self.tiles.grid[1],
                                    runs: 1,
                                    run_steps: [0; 2],
                                    rows: 0,
                                    vectors: panel.len(),
                                    start: if block.start == 0 {
                                        Start::Zero
                                    } else {
                                        Start::Output
                                    },
                                    residual: None,
                                    is_relu: false,
                                };
                                self.products.rows(&block, source_channels);
                            }
                        }
                    }
                }
            });
        });
        let len = positions * position_len;
        let (first, rest) = sums.as_mut_slice().split_at_mut(len);
        first.par_chunks_mut(PIECE).enumerate().for_each(|(index, sum)| {
            let piece = index * PIECE..index * PIECE + sum.len();
            for chunk in rest.chunks_exact(len) {
                sum.iter_mut().zip(&chunk[piece.clone()]).for_each(|(sum, value)| *sum += value);
            }
        });
        self.drain_all(target, shared, width, position_len);
    }

    /// Many tiles: chunk by chunk, one position after the other.
    pub(super) fn by_positions(&self, target: Target) {
        let lanes = self.lanes();
        let WinogradGradient { source_channels, target_channels, .. } = *self.gradient;
        let strip_len = self.tiles.grid[1] * (self.rows[0] + self.rows[1]);
        let chunks: Vec<Range<usize>> =
            parts(self.tiles.strips, (CHUNK_VALUES / strip_len).max(1)).collect();
        let most_tiles = chunks[0].len() * self.tiles.grid[1];
        let mut transformed = self.rows.map(|row| Buffer::new(self.positions() * most_tiles * row));
        let vectors = target_channels.div_ceil(lanes);
        let panels: Vec<Range<usize>> = parts(vectors, self.products.vectors).collect();
        let width = row_len(target_channels, lanes);
        let position_len = source_channels * width;
        let mut sums = Buffer::new(self.positions() * position_len);
        let shared = Target::new(sums.as_mut_slice());
        for chunk in &chunks {
            self.lift(chunk, most_tiles, &mut transformed);
            let [sources, gradients] = transformed.each_ref().map(Buffer::as_slice);
            for_each(self.positions() * panels.len(), |task| {
                let (position, panel) = (task / panels.len(), &panels[task % panels.len()]);
                for piece in parts(chunk.len() * self.tiles.grid[1], PART_TILES) {
                    let start = position * most_tiles + piece.start;
                    let is_first = chunk.start == 0 && piece.start == 0;
                    let block = Block {
                        a: sources[start * self.rows[0]..].as_ptr(),
                        a_steps: [1, self.rows[0]],
                        b: gradients[start * self.rows[1] + panel.start * lanes..].as_ptr(),
                        b_step: self.rows[1],
                        // SAFETY: within the sums of this position.
                        c: unsafe {
                            shared.pointer().add(position * position_len + panel.start * lanes)
                        },
                        c_step: width,
                        depth: piece.len(),
                        runs: 1,
                        run_steps: [0; 2],
                        rows: 0,
                        vectors: panel.len(),
                        start: if is_first { Start::Zero } else { Start::Output },
                        residual: None,
                        is_relu: false,
                    };
                    // SAFETY: all tiles of the chunk were transformed; the sums of this panel at
                    // this position belong to this task alone.
                    unsafe { self.products.rows(&block, source_channels) };
                }
            });
        }
        self.drain_all(target, shared, width, position_len);
    }
}
