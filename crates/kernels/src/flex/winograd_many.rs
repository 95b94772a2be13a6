//! Minimal filtering of many tiles: the weights are transformed first, then tasks take a few rows
//! of tiles each.
#![allow(unsafe_code, reason = "tasks write disjoint parts of shared memory")]

use std::ops::Range;

use super::matrix::{Block, Start, parts};
use super::parallel::{Target, for_each, with_scratch};
use super::pool::Buffer;
use super::winograd_pass::{Job, row_len};

/// Tiles of a task, about.
const TASK_TILES: usize = 56;
/// What a task costs besides its tiles, in tiles: it reads all weights.
const TASK_COST: usize = 8;

impl Job<'_> {
    /// Many tiles: weights first, then tasks of a few strips each.
    pub(super) fn by_tiles(&self) {
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
}
