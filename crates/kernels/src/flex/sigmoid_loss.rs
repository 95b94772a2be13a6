//! Sigmoid losses, row by row: loss and gradient in one pass.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use super::focal::{Focal, focal_loss};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2Lanes, Avx512Lanes};
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::Rows;
use super::loss_tables::SigmoidTables;
use super::negatives::NegativeWeights;
use super::parallel::{Target, for_each_row_block};
use super::pool::Buffer;
use super::sigmoid_targets::{RowTargets, Targets};
use super::simd::{Isa, isa};
use crate::RowSet;

/// Columns whose losses are added up in single precision.
const CHUNK: usize = 512;
/// Blocks of rows with sums of their own.
const SUM_BLOCKS: usize = 64;

pub(super) struct SigmoidLoss<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) targets: Targets<'a>,
    pub(super) tables: &'a SigmoidTables,
}

/// One row under way.
#[derive(Clone, Copy)]
struct Row {
    logits: *const f32,
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
    pub(super) fn run(
        &self,
        losses: &mut [f32],
        gradient: Option<Target>,
        has_sums: bool,
    ) -> Option<Buffer> {
        let Rows { num_rows, num_columns, .. } = self.rows;
        let losses = Target::new(losses);
        let mut block = self.rows.block();
        if has_sums {
            block = block.max(num_rows.div_ceil(SUM_BLOCKS));
        }
        let num_blocks = num_rows.div_ceil(block);
        let padded = num_columns.next_multiple_of(LANES);
        let mut partial = Buffer::zeros(if has_sums { num_blocks.max(1) * 2 * padded } else { 0 });
        let sums = Target::new(partial.as_mut_slice());
        for_each_row_block(num_blocks, |index| {
            let rows = index * block..num_rows.min((index + 1) * block);
            let sums = if has_sums {
                // SAFETY: every block has sums of its own.
                unsafe { sums.pointer().add(index * 2 * padded) }
            } else {
                std::ptr::null_mut()
            };
            // SAFETY: the instruction set was detected; rows belong to one task.
            unsafe {
                match isa() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => self.block_avx512(rows, losses, gradient, sums),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => self.block_avx2(rows, losses, gradient, sums),
                    Isa::Portable => self.block::<PortableLanes>(rows, losses, gradient, sums),
                }
            }
        });
        has_sums.then(|| {
            let mut sums = Buffer::new(2 * num_columns);
            let (positive, negative) = sums.as_mut_slice().split_at_mut(num_columns);
            for (part, to) in [negative, positive].into_iter().enumerate() {
                for (column, to) in to.iter_mut().enumerate() {
                    let partial = partial.as_slice()[part * padded + column..].iter();
                    *to =
                        partial.step_by(2 * padded).map(|&sum| f64::from(sum)).sum::<f64>() as f32;
                }
            }
            sums
        })
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block_avx2(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
        sums: *mut f32,
    ) {
        unsafe { self.block::<Avx2Lanes>(rows, losses, gradient, sums) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn block_avx512(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
        sums: *mut f32,
    ) {
        unsafe { self.block::<Avx512Lanes>(rows, losses, gradient, sums) }
    }

    #[inline(always)]
    unsafe fn block<S: Lanes>(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
        sums: *mut f32,
    ) {
        let num_columns = self.rows.num_columns;
        let tables = self.tables;
        let mut negative_weights = NegativeWeights::new(&tables.negative_rule);
        for index in rows {
            // SAFETY: within the logits, the losses and the gradient; the row is this task's.
            let (logits, loss) = unsafe {
                let logits = self.rows.logits.pointer().add(index * num_columns);
                (logits, losses.part(index, 1))
            };
            let gradient = match gradient {
                None => std::ptr::null_mut(),
                // SAFETY: as above.
                Some(gradient) => unsafe { gradient.pointer().add(index * num_columns) },
            };
            let Some(factor) = self.rows.factor(index) else {
                loss[0] = 0.0;
                if !gradient.is_null() {
                    // SAFETY: as above.
                    unsafe { gradient.write_bytes(0, num_columns) };
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
                gradient,
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
        let mut total = 0.0;
        let mut start = 0;
        // SAFETY: by the caller; `full` vectors and a part of one make up the row.
        unsafe {
            while start < num_columns {
                let end = num_columns.min(start + CHUNK);
                let full = start + (end - start) / LANES * LANES;
                let mut sum = S::splat(0.0);
                let mut column = start;
                while column < full {
                    let logits = S::load(row.logits.add(column));
                    let (loss, gradient) = if row.targets.are_negative(column) {
                        self.negatives::<S, FOCAL>(row, column, logits)
                    } else {
                        let targets = row.targets.at::<S>(column, LANES);
                        self.entries::<S, FOCAL>(row, column, logits, targets)
                    };
                    sum = sum.add(loss);
                    if !row.gradient.is_null() {
                        gradient.mul(S::splat(row.factor)).store(row.gradient.add(column));
                    }
                    column += LANES;
                }
                if full < end {
                    let count = end - full;
                    let logits = S::load_part(row.logits.add(full), count, 0.0);
                    let targets = row.targets.at::<S>(full, count);
                    let (loss, gradient) = self.entries::<S, FOCAL>(row, full, logits, targets);
                    sum = sum.add(loss);
                    if !row.gradient.is_null() {
                        let gradient = gradient.mul(S::splat(row.factor));
                        gradient.store_part(row.gradient.add(full), count);
                    }
                }
                total += sum.sum();
                start = end;
            }
        }
        total
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
