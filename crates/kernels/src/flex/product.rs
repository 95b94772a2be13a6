//! Products of large matrices.
//!
//! A task owns some rows and columns of the result. It goes through the depth in steps: packs its
//! columns of one step of `b`, and multiplies all of its rows with them while they stay in cache.
//! The order of the sums depends on the depth alone.
#![allow(unsafe_code, reason = "tasks write disjoint parts of one output")]

use std::ops::Range;

use super::matrix::{Block, Products, Start, parts};
use super::parallel::{JobId, Target, for_each, with_scratch};
use super::simd::MAX_LANES;

/// Depth of a step.
const DEPTH: usize = 320;
/// Panels that a task packs at a time, at most.
const PANELS: usize = 6;
/// Rows that are packed at a time.
const ROWS: usize = 64;
/// Tasks wanted per thread.
const TASKS_PER_THREAD: usize = 8;
/// Most rows and lanes of a block.
const MAX_ROWS: usize = 8;
const MAX_WIDTH: usize = 3 * MAX_LANES;

/// `c[row][column] = bias[column] + sum_k a[row][k] b[k][column]`, then perhaps a ReLU.
pub(super) struct Product<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
    pub(super) a: &'a [f32],
    /// Distance between rows of `a`, and between its columns.
    pub(super) a_steps: [usize; 2],
    pub(super) b: &'a [f32],
    /// The same of `b`.
    pub(super) b_steps: [usize; 2],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) is_relu: bool,
}

/// Consecutive columns, a whole number of vectors but for the last one.
struct Panel {
    columns: Range<usize>,
    vectors: usize,
}

impl Product<'_> {
    /// Writes `c`, row by row.
    pub(super) fn run(&self, c: &mut [f32]) {
        assert_eq!(c.len(), self.rows * self.columns);
        if c.is_empty() {
            return;
        }
        if self.depth == 0 || self.bias.is_some() {
            self.fill(c);
        }
        if self.depth == 0 {
            return;
        }
        let at = |steps: [usize; 2], row: usize, column: usize| row * steps[0] + column * steps[1];
        assert!(at(self.a_steps, self.rows - 1, self.depth - 1) < self.a.len());
        assert!(at(self.b_steps, self.depth - 1, self.columns - 1) < self.b.len());
        let products = Products::get();
        let lanes = products.lanes;
        let panel = |vectors: Range<usize>| Panel {
            columns: vectors.start * lanes..self.columns.min(vectors.end * lanes),
            vectors: vectors.len(),
        };
        let panels: Vec<Panel> =
            parts(self.columns.div_ceil(lanes), products.vectors).map(panel).collect();
        let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
        let per_group = panels.len().div_ceil(wanted / 2).min(PANELS);
        let groups: Vec<Range<usize>> = parts(panels.len(), per_group).collect();
        let pieces = wanted.div_ceil(groups.len());
        let per_piece = self.rows.div_ceil(pieces).next_multiple_of(products.rows);
        let pieces: Vec<Range<usize>> = parts(self.rows, per_piece).collect();
        let (target, id) = (Target::new(c), JobId::unique());
        for_each(groups.len() * pieces.len(), |task| {
            let panels = &panels[groups[task / pieces.len()].clone()];
            let rows = pieces[task % pieces.len()].clone();
            self.task(products, target, id, panels, rows);
        });
    }

    /// What the sums start from; with a depth of 0, the result.
    fn fill(&self, c: &mut [f32]) {
        match self.bias {
            None => c.fill(0.0),
            Some(bias) => {
                let relu = |&value: &f32| if value < 0.0 { 0.0 } else { value };
                let is_last = self.depth == 0 && self.is_relu;
                let row: Vec<f32> =
                    if is_last { bias.iter().map(relu).collect() } else { bias.to_vec() };
                c.chunks_exact_mut(self.columns).for_each(|to| to.copy_from_slice(&row));
            }
        }
    }

    fn task(
        &self,
        products: &Products,
        target: Target,
        id: JobId,
        panels: &[Panel],
        rows: Range<usize>,
    ) {
        let width = products.vectors * products.lanes;
        let sizes = [PANELS * width * DEPTH, ROWS * DEPTH];
        with_scratch(id, sizes, |packed, packed_rows, _| {
            for start in (0..self.depth).step_by(DEPTH) {
                let depth = start..self.depth.min(start + DEPTH);
                let is_first = start == 0 && self.bias.is_none();
                for (panel, to) in panels.iter().zip(packed.chunks_exact_mut(width * DEPTH)) {
                    self.pack(products, panel, depth.clone(), to);
                }
                for first in rows.clone().step_by(ROWS) {
                    let rows = first..rows.end.min(first + ROWS);
                    let (a, a_step) = match self.a_steps {
                        [step, 1] => (&self.a[first * step + start..], step),
                        _ => {
                            self.pack_rows(rows.clone(), depth.clone(), packed_rows);
                            (&*packed_rows, depth.len())
                        }
                    };
                    for part in parts(rows.len(), products.rows) {
                        for (panel, b) in panels.iter().zip(packed.chunks_exact(width * DEPTH)) {
                            let block = Block {
                                a: a[part.start * a_step..].as_ptr(),
                                a_steps: [a_step, 1],
                                b: b.as_ptr(),
                                b_step: panel.vectors * products.lanes,
                                c: std::ptr::null_mut(),
                                c_step: self.columns,
                                depth: depth.len(),
                                runs: 1,
                                run_steps: [0; 2],
                                rows: part.len(),
                                vectors: panel.vectors,
                                start: if is_first { Start::Zero } else { Start::Output },
                                residual: None,
                                is_relu: self.is_relu && depth.end == self.depth,
                            };
                            let row = rows.start + part.start;
                            // SAFETY: the rows of `a` and the packed panel are whole, and no other
                            // task writes these rows of these columns.
                            unsafe { self.block(products, block, target, row, panel) }
                        }
                    }
                }
            }
        });
    }

    /// Adds a block to the columns of a panel from row `row` on.
    ///
    /// # Safety
    /// All but `c` must be as [`Products::block`] wants it, and the columns of the panel in these
    /// rows must belong to the calling task.
    unsafe fn block(
        &self,
        products: &Products,
        mut block: Block,
        target: Target,
        row: usize,
        panel: &Panel,
    ) {
        let start = row * self.columns + panel.columns.start;
        let (width, count) = (block.b_step, panel.columns.len());
        // SAFETY: by the caller; the panel lies in the columns of the result.
        unsafe {
            if count == width {
                block.c = target.pointer().add(start);
                products.block(&block);
                return;
            }
            // The last vector is not whole: its lanes beyond the columns have no place.
            let mut sums = [0.0; MAX_ROWS * MAX_WIDTH];
            for (row, sums) in sums.chunks_exact_mut(width).enumerate().take(block.rows) {
                sums[..count].copy_from_slice(target.part(start + row * self.columns, count));
            }
            block.c = sums.as_mut_ptr();
            block.c_step = width;
            products.block(&block);
            for (row, sums) in sums.chunks_exact(width).enumerate().take(block.rows) {
                target.part(start + row * self.columns, count).copy_from_slice(&sums[..count]);
            }
        }
    }

    /// One row of lanes for every step of the depth; zeros beyond the columns.
    fn pack(&self, products: &Products, panel: &Panel, depth: Range<usize>, to: &mut [f32]) {
        let width = panel.vectors * products.lanes;
        let [row_step, column_step] = self.b_steps;
        let count = panel.columns.len();
        let to = &mut to[..depth.len() * width];
        if column_step == 1 {
            for (k, to) in depth.zip(to.chunks_exact_mut(width)) {
                let start = k * row_step + panel.columns.start;
                to[..count].copy_from_slice(&self.b[start..start + count]);
                to[count..].fill(0.0);
            }
            return;
        }
        if count < width {
            to.fill(0.0);
        }
        for (lane, column) in panel.columns.clone().enumerate() {
            let from = self.b[depth.start * row_step + column * column_step..].iter();
            let lanes = to[lane..].iter_mut().step_by(width);
            lanes.zip(from.step_by(row_step)).for_each(|(to, from)| *to = *from);
        }
    }

    /// Rows of `a` with their columns side by side.
    fn pack_rows(&self, rows: Range<usize>, depth: Range<usize>, to: &mut [f32]) {
        let [row_step, column_step] = self.a_steps;
        let len = depth.len();
        for (index, k) in depth.enumerate() {
            let from = self.a[rows.start * row_step + k * column_step..].iter();
            let column = to[index..].iter_mut().step_by(len).take(rows.len());
            column.zip(from.step_by(row_step)).for_each(|(to, from)| *to = *from);
        }
    }
}
