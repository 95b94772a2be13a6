//! Minimal filtering of few tiles: all sources are transformed first, then tasks take some target
//! channels each.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::pool::Buffer;
use super::winograd_pass::Job;

/// Transformed weights of a panel worked on at a time.
const PANEL_VALUES: usize = 128 << 10;

impl Job<'_> {
    /// Few tiles: sources first, then tasks of a panel of target channels each, which transform
    /// the weights they need.
    pub(super) fn by_panels(&self) {
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
        let panels: Vec<Range<usize>> = parts(self.vectors, 2).collect();
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
