//! Sigmoid losses, row by row: loss and gradient in one pass.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use super::focal::{Focal, focal_loss};
#[cfg(target_arch = "x86_64")]
use super::lanes::Avx2Lanes;
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::{NONE, Rows};
use super::loss_tables::SigmoidTables;
use super::parallel::{Target, for_each};
use super::pool::Buffer;
use super::simd::{Isa, isa};
use crate::RowSet;

/// Columns whose losses are added up in single precision.
const CHUNK: usize = 512;
/// Blocks of rows with sums of their own.
const SUM_BLOCKS: usize = 64;

/// What the entries should be.
#[derive(Clone, Copy)]
pub(super) enum Targets<'a> {
    /// The positive column of each row, or [`NONE`].
    Classes { labels: &'a [u32] },
    /// `[rows, columns]`
    MultiLabel(&'a [f32]),
}

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
    targets: *const f32,
    label: usize,
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
        for_each(num_blocks, |index| {
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
                    Isa::Avx2 | Isa::Avx512 => self.block_avx2(rows, losses, gradient, sums),
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

    #[inline(always)]
    unsafe fn block<S: Lanes>(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
        sums: *mut f32,
    ) {
        let num_columns = self.rows.num_columns;
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
            let (label, targets, is_foreground) = match self.targets {
                Targets::Classes { labels } => {
                    let label = labels[index] as usize;
                    (label, std::ptr::null(), label < num_columns)
                }
                Targets::MultiLabel(targets) => {
                    let targets = &targets[index * num_columns..(index + 1) * num_columns];
                    (NONE as usize, targets.as_ptr(), targets.iter().any(|&target| target > 0.0))
                }
            };
            let tables = self.tables;
            let is_shifted = is_foreground || tables.shift_rows == RowSet::All;
            let is_weighted = is_foreground || tables.negative_rows == RowSet::All;
            let row = Row {
                logits,
                gradient,
                targets,
                label,
                shift: if is_shifted { &tables.shift } else { &tables.zeros }.as_ptr(),
                negative: if is_weighted { &tables.negative } else { &tables.ones }.as_ptr(),
                factor,
                sums,
            };
            // SAFETY: pointers of a row of `num_columns` values; tables are full vectors.
            let sum = unsafe {
                match tables.focal {
                    Focal::No => self.row::<S, { Focal::No as u8 }>(&row),
                    Focal::Square => self.row::<S, { Focal::Square as u8 }>(&row),
                    Focal::Table => self.row::<S, { Focal::Table as u8 }>(&row),
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
                    let (loss, gradient) =
                        if row.targets.is_null() && row.label & !(LANES - 1) != column {
                            self.negatives::<S, FOCAL>(row, column, logits)
                        } else {
                            let targets = row.targets_at::<S>(column, LANES);
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
                    let targets = row.targets_at::<S>(full, count);
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
            let (loss, gradient) = focal_loss::<S, FOCAL>(wrong, gamma);
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
            let (loss, gradient) = focal_loss::<S, FOCAL>(shifted.mul(sign), gamma);
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

impl Row {
    /// The targets of a vector of which `count` entries are in the row.
    #[inline(always)]
    unsafe fn targets_at<S: Lanes>(&self, column: usize, count: usize) -> S {
        // SAFETY: `count` targets are left in the row.
        unsafe {
            if self.targets.is_null() {
                let mut targets = [0.0_f32; LANES];
                if let Some(target) = targets.get_mut(self.label.wrapping_sub(column)) {
                    *target = 1.0;
                }
                S::load(targets.as_ptr())
            } else if count == LANES {
                S::load(self.targets.add(column))
            } else {
                S::load_part(self.targets.add(column), count, 0.0)
            }
        }
    }
}
