//! Sigmoid losses, row by row: loss and gradient in one pass.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use std::ops::Range;

use super::focal::{Focal, focal_loss};
use super::gradient_rows::GradientRows;
use super::lanes::{LANES, Lanes};
use super::loss::Rows;
use super::loss_tables::SigmoidTables;
use super::negatives::NegativeWeights;
use super::parallel::Target;
use super::pool::Buffer;
use super::row_blocks::{self, RowBlocks};
use super::sigmoid_sums::{self, BlockSums, Sums};
use super::sigmoid_targets::{RowTargets, Targets};
use crate::RowSet;

/// Columns whose losses are added up in single precision.
const CHUNK: usize = 512;

pub(super) struct SigmoidLoss<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) targets: Targets<'a>,
    pub(super) tables: &'a SigmoidTables,
    pub(super) losses: Target,
    pub(super) gradient: Option<GradientRows>,
}

/// One row under way.
#[derive(Clone, Copy)]
struct Row {
    logits: *const f32,
    /// Where it is wanted, or null.
    gradient: *mut f32,
    targets: RowTargets,
    shift: *const f32,
    negative: *const f32,
    /// Multiplies the gradient.
    factor: f32,
    /// Sums of absolute gradients of negatives, then of positives; or null.
    sums: *mut f32,
}

impl SigmoidLoss<'_> {
    /// Fills the losses of the rows, and the gradient of the logits where it is wanted. Returns the
    /// sums of absolute gradients `[2, columns]`, positives first, where they are wanted.
    pub(super) fn run(&self, has_sums: bool) -> Option<Buffer> {
        let Rows { num_rows, num_columns, .. } = self.rows;
        let block = self.rows.block();
        if !has_sums {
            row_blocks::run(&Blocks { of: self, sums: None }, num_rows, block);
            return None;
        }
        let block = block.max(sigmoid_sums::rows_per_block(num_rows));
        let mut sums = Sums::new(num_rows.div_ceil(block), num_columns);
        row_blocks::run(&Blocks { of: self, sums: Some(sums.blocks()) }, num_rows, block);
        Some(sums.total())
    }
}

/// The blocks of rows, and where each puts its sums.
struct Blocks<'a> {
    of: &'a SigmoidLoss<'a>,
    sums: Option<BlockSums>,
}

impl RowBlocks for Blocks<'_> {
    #[inline(always)]
    unsafe fn rows<S: Lanes>(&self, block: usize, rows: Range<usize>) {
        // SAFETY: by the caller; every block has sums of its own.
        unsafe {
            let sums = self.sums.as_ref().map_or(std::ptr::null_mut(), |sums| sums.of(block));
            self.of.block::<S>(rows, sums);
        }
    }
}

impl SigmoidLoss<'_> {
    #[inline(always)]
    unsafe fn block<S: Lanes>(&self, rows: Range<usize>, sums: *mut f32) {
        let num_columns = self.rows.num_columns;
        let tables = self.tables;
        let mut negative_weights = NegativeWeights::new(&tables.negative_rule);
        for index in rows {
            // SAFETY: within the logits, the losses and the gradient; the row is this task's.
            let (logits, loss, to) = unsafe {
                let logits = self.rows.logits.pointer().add(index * num_columns);
                let to = self.gradient.map(|gradient| gradient.at(index, 0));
                (logits, self.losses.part(index, 1), to)
            };
            let Some(factor) = self.rows.factor(index) else {
                loss[0] = 0.0;
                if let Some(gradient) = self.gradient {
                    // SAFETY: as above.
                    unsafe { gradient.clear(index, num_columns) };
                }
                continue;
            };
            let (targets, is_foreground) = self.targets.row(index, num_columns);
            let is_shifted = is_foreground || tables.shift_rows == RowSet::All;
            let is_weighted = is_foreground || tables.negative_rows == RowSet::All;
            let shift = if is_shifted { &tables.shift } else { &tables.zeros };
            let negative = if is_weighted { &tables.negative } else { &tables.ones };
            // SAFETY: a row of logits; tables are full vectors.
            let negative = unsafe {
                let row = (index, is_foreground);
                negative_weights.of_row::<S>(row, logits, shift, negative)
            };
            let row = Row {
                logits,
                gradient: to.unwrap_or(std::ptr::null_mut()),
                targets,
                shift: shift.as_ptr(),
                negative: negative.as_ptr(),
                factor,
                sums,
            };
            // SAFETY: pointers of a row of `num_columns` values; tables are full vectors.
            let sum = unsafe {
                match tables.focal {
                    Focal::No => self.row::<S, { Focal::No as u8 }>(&row),
                    Focal::Square => self.row::<S, { Focal::Square as u8 }>(&row),
                    Focal::Table => self.row::<S, { Focal::Table as u8 }>(&row),
                    Focal::Bins => self.row::<S, { Focal::Bins as u8 }>(&row),
                }
            };
            loss[0] = (sum * f64::from(factor)) as f32;
        }
    }

    /// The loss without the row's factor; fills the gradient.
    #[inline(always)]
    unsafe fn row<S: Lanes, const FOCAL: u8>(&self, row: &Row) -> f64 {
        let num_columns = self.rows.num_columns;
        let is_wanted = !row.gradient.is_null();
        let mut total = 0.0;
        let mut start = 0;
        // SAFETY: by the caller; `full` vectors and a part of one make up the row.
        unsafe {
            let factors = S::splat(row.factor);
            while start < num_columns {
                let end = num_columns.min(start + CHUNK);
                let full = start + (end - start) / LANES * LANES;
                let mut sum = S::splat(0.0);
                let mut column = start;
                while column < full {
                    let logits = S::load(row.logits.add(column));
                    let (loss, gradient) = self.vector::<S, FOCAL>(row, column, LANES, logits);
                    sum = sum.add(loss);
                    if is_wanted {
                        gradient.mul(factors).store(row.gradient.add(column));
                    }
                    column += LANES;
                }
                if full < end {
                    let count = end - full;
                    let logits = S::load_part(row.logits.add(full), count, 0.0);
                    let (loss, gradient) = self.vector::<S, FOCAL>(row, full, count, logits);
                    sum = sum.add(loss);
                    if is_wanted {
                        gradient.mul(factors).store_part(row.gradient.add(full), count);
                    }
                }
                total += sum.sum();
                start = end;
            }
        }
        total
    }

    /// Losses and gradients of a vector of which `count` entries are in the row; no loss beyond.
    #[inline(always)]
    unsafe fn vector<S: Lanes, const FOCAL: u8>(
        &self,
        row: &Row,
        column: usize,
        count: usize,
        logits: S,
    ) -> (S, S) {
        // SAFETY: by the caller.
        unsafe {
            if row.targets.are_negative(column) {
                self.negatives::<S, FOCAL>(row, column, logits)
            } else {
                let targets = row.targets.at::<S>(column, count);
                self.entries::<S, FOCAL>(row, column, logits, targets)
            }
        }
    }

    /// Losses and gradients where every target is 0.
    #[inline(always)]
    unsafe fn negatives<S: Lanes, const FOCAL: u8>(
        &self,
        row: &Row,
        column: usize,
        logits: S,
    ) -> (S, S) {
        // SAFETY: tables and sums are full vectors.
        unsafe {
            let wrong = logits.add(S::load(row.shift.add(column)));
            let weights = S::load(row.negative.add(column));
            let gamma = S::load(self.tables.gamma.as_ptr().add(column));
            let (loss, gradient) = focal_loss::<S, FOCAL>(wrong, gamma, &self.tables.bins);
            let (loss, gradient) = (loss.mul(weights), gradient.mul(weights));
            if !row.sums.is_null() {
                let sum = row.sums.add(column);
                S::load(sum).add(gradient).store(sum);
            }
            (loss, gradient)
        }
    }

    /// Losses and gradients.
    #[inline(always)]
    unsafe fn entries<S: Lanes, const FOCAL: u8>(
        &self,
        row: &Row,
        column: usize,
        logits: S,
        targets: S,
    ) -> (S, S) {
        // SAFETY: as in `negatives`.
        unsafe {
            let one = S::splat(1.0);
            let tables = self.tables;
            let shifted = logits.add(S::load(row.shift.add(column)));
            let negatives = one.sub(targets);
            let sign = negatives.sub(targets); // 1 at negatives, -1 at positives
            let gamma = S::load(tables.gamma.as_ptr().add(column));
            let (loss, gradient) = focal_loss::<S, FOCAL>(shifted.mul(sign), gamma, &tables.bins);
            let excess = S::load(row.negative.add(column)).sub(one);
            let mut weights = negatives.mul_add(excess, one);
            let excess = S::load(tables.positive.as_ptr().add(column)).sub(one);
            weights = weights.mul(targets.mul_add(excess, one));
            let (loss, gradient) = (loss.mul(weights), gradient.mul(weights));
            if !row.sums.is_null() {
                let parts = [negatives, targets];
                let padded = self.rows.num_columns.next_multiple_of(LANES);
                for (part, of) in parts.into_iter().enumerate() {
                    let sum = row.sums.add(part * padded + column);
                    S::load(sum).add(gradient.mul(of)).store(sum);
                }
            }
            (loss, gradient.mul(sign))
        }
    }
}
