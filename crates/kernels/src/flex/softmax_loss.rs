//! Softmax losses, row by row: loss and gradient while the row is in cache.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use super::exp::exp;
#[cfg(target_arch = "x86_64")]
use super::lanes::Avx2Lanes;
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::Rows;
use super::parallel::{Target, for_each};
use super::pool::Buffer;
use super::simd::{Isa, isa};
use crate::loss_backend::{ShiftConfig, SoftmaxConfig};
use crate::random_mask::{column_key, row_key};

/// Columns whose exponentials are added up in single precision.
const CHUNK: usize = 1024;
/// Far below any logit: `e` to this power is 0.
const LEFT_OUT: f32 = -1e7;

/// Per-column tables, filled up to full vectors.
pub(super) struct SoftmaxTables {
    /// Of the shift, whatever it is.
    shift: Vec<f32>,
    margin: Option<Vec<f32>>,
    /// Of a random mask.
    keys: Vec<u32>,
}

impl SoftmaxTables {
    /// `tables` lie one after the other, each `num_classes` long.
    pub(super) fn new(config: &SoftmaxConfig, tables: &[f32], num_classes: usize) -> Self {
        let len = num_classes.next_multiple_of(LANES);
        let mut tables = tables.chunks_exact(num_classes.max(1));
        let mut table = |is_present: bool| {
            let mut table = is_present.then(|| tables.next()).flatten()?.to_vec();
            table.resize(len, 0.0);
            Some(table)
        };
        let shift = table(!matches!(config.shift, ShiftConfig::None | ShiftConfig::PerEntry));
        let keys = match config.shift {
            ShiftConfig::RandomMask { key, .. } => {
                (0..len as u32).map(|column| column_key(key, column)).collect()
            }
            _ => Vec::new(),
        };
        Self { shift: shift.unwrap_or_default(), margin: table(config.has_margin), keys }
    }
}

pub(super) struct SoftmaxLoss<'a> {
    pub(super) rows: Rows<'a>,
    /// Columns without those of objectness.
    pub(super) num_classes: usize,
    pub(super) labels: &'a [u32],
    pub(super) tables: &'a SoftmaxTables,
    /// The shift per entry, if there is one.
    pub(super) entries: &'a [f32],
    pub(super) config: SoftmaxConfig,
}

impl SoftmaxLoss<'_> {
    /// Fills the losses of the rows, and the gradient of the logits where it is wanted.
    pub(super) fn run(&self, losses: &mut [f32], gradient: Option<Target>) {
        let num_rows = self.rows.num_rows;
        let losses = Target::new(losses);
        let block = self.rows.block();
        for_each(num_rows.div_ceil(block), |index| {
            let rows = index * block..num_rows.min((index + 1) * block);
            // SAFETY: the instruction set was detected; rows belong to one task.
            unsafe {
                match isa() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 | Isa::Avx512 => self.block_avx2(rows, losses, gradient),
                    Isa::Portable => self.block::<PortableLanes>(rows, losses, gradient),
                }
            }
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block_avx2(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        unsafe { self.block::<Avx2Lanes>(rows, losses, gradient) }
    }

    #[inline(always)]
    unsafe fn block<S: Lanes>(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        let Self { num_classes, .. } = *self;
        let num_columns = self.rows.num_columns;
        let mut scratch = match gradient {
            None => Buffer::new(num_columns),
            Some(_) => Buffer::new(0),
        };
        for index in rows {
            let logits = self.rows.logits.pointer();
            // SAFETY: within the logits, the losses and the gradient; the row is this task's.
            let (logits, loss) =
                unsafe { (logits.add(index * num_columns).cast_const(), losses.part(index, 1)) };
            let out = match gradient {
                // SAFETY: as above.
                Some(gradient) => unsafe { gradient.part(index * num_columns, num_columns) },
                None => scratch.as_mut_slice(),
            }
            .as_mut_ptr();
            loss[0] = 0.0;
            let Some(factor) = self.rows.factor(index) else {
                // SAFETY: as above.
                unsafe { out.write_bytes(0, num_columns) };
                continue;
            };
            let label = self.labels[index] as usize;
            let is_background = self.config.has_objectness && label == num_classes;
            // SAFETY: pointers of a row of `num_columns` values, the classes first.
            unsafe {
                let mut sum = 0.0;
                if self.config.has_objectness {
                    let place = (logits.add(num_classes), out.add(num_classes));
                    sum += objectness(place, is_background, factor);
                }
                if is_background {
                    out.write_bytes(0, num_classes);
                } else if label < num_classes {
                    sum += self.row::<S>((logits, out), index, factor, gradient.is_some());
                } else {
                    sum = f64::NAN;
                }
                loss[0] = (sum * f64::from(factor)) as f32;
            }
        }
    }

    /// The loss of the classes without the row's factor; overwrites `out`, with the gradient if it
    /// is wanted.
    #[inline(always)]
    unsafe fn row<S: Lanes>(
        &self,
        (logits, out): (*const f32, *mut f32),
        index: usize,
        factor: f32,
        is_tracked: bool,
    ) -> f64 {
        let (len, label) = (self.num_classes, self.labels[index] as usize);
        // SAFETY: by the caller.
        unsafe {
            let shifted = self.shift::<S>(logits, out, index);
            let of_label = f64::from(*shifted.add(label));
            let largest = largest::<S>(shifted, len);
            if !is_tracked {
                let sum = exp_sum::<S, false>(shifted, out, len, largest);
                return sum.ln() + (f64::from(largest) - of_label);
            }
            let sum = exp_sum::<S, true>(shifted, out, len, largest);
            let slope = f64::from(factor) * f64::from(self.config.scale);
            let label_slope = (f64::from(*out.add(label)) / sum - 1.0) * slope;
            let slopes = S::splat((slope / sum) as f32);
            map::<S>(out, out, len, |_, power| power.mul(slopes));
            *out.add(label) = label_slope as f32;
            sum.ln() + (f64::from(largest) - of_label)
        }
    }

    /// The logits inside the softmax: as they are, or in `out`.
    #[inline(always)]
    unsafe fn shift<S: Lanes>(
        &self,
        logits: *const f32,
        out: *mut f32,
        index: usize,
    ) -> *const f32 {
        let (len, label) = (self.num_classes, self.labels[index] as usize);
        let SoftmaxConfig { shift, scale, .. } = self.config;
        let table = self.tables.shift.as_ptr();
        // SAFETY: by the caller; tables are full vectors; entries are rows of `len` values.
        unsafe {
            let scales = S::splat(scale);
            let of_label = *logits.add(label);
            // What the label's logit is shifted by.
            let mut label_shift = 0.0;
            match shift {
                ShiftConfig::None if scale == 1.0 && self.tables.margin.is_none() => return logits,
                ShiftConfig::None => map::<S>(logits, out, len, |_, logit| logit.mul(scales)),
                ShiftConfig::PerColumn => {
                    label_shift = *table.add(label);
                    map::<S>(logits, out, len, |column, logit| {
                        logit.mul(scales).add(S::load(table.add(column)))
                    });
                }
                ShiftConfig::PerEntry => {
                    let entries = self.entries[index * len..(index + 1) * len].as_ptr();
                    label_shift = *entries.add(label);
                    map::<S>(logits, out, len, |column, logit| {
                        let shift = if len - column >= LANES {
                            S::load(entries.add(column))
                        } else {
                            S::load_part(entries.add(column), len - column, 0.0)
                        };
                        logit.mul(scales).add(shift)
                    });
                }
                ShiftConfig::RandomMask { key, bound } => {
                    let (row, keys) = (row_key(key, index as u32), self.tables.keys.as_ptr());
                    map::<S>(logits, out, len, |column, logit| {
                        let drawn = S::drawn(keys.add(column), row, bound);
                        let drawn = drawn.mul(S::load(table.add(column)));
                        drawn.mul_add(S::splat(LEFT_OUT), logit.mul(scales))
                    });
                }
                ShiftConfig::Seesaw { p, q, log_epsilon } => {
                    let largest = largest::<S>(logits, len);
                    let log_sum = exp_sum::<S, false>(logits, out, len, largest).ln() as f32;
                    let of_label = ((of_label - largest) - log_sum).max(log_epsilon);
                    let [largest, log_sum] = [largest, log_sum].map(|value| S::splat(value));
                    let of_label = S::splat(of_label);
                    let log_count = S::splat(*table.add(label));
                    let (p, q, zero) = (S::splat(p), S::splat(q), S::splat(0.0));
                    map::<S>(logits, out, len, |column, logit| {
                        let counts = S::load(table.add(column)).sub(log_count);
                        let scores = logit.sub(largest).sub(log_sum).sub(of_label);
                        let shift = zero.min(counts).mul(p);
                        zero.max(scores).mul_add(q, shift).add(logit.mul(scales))
                    });
                }
            }
            let margin = self.tables.margin.as_ref().map_or(0.0, |margin| margin[label]);
            if margin != 0.0 || matches!(shift, ShiftConfig::RandomMask { .. }) {
                *out.add(label) = scale * (of_label - margin) + label_shift;
            }
            out
        }
    }
}

/// The softmax of two logits, foreground and background, and its gradient.
#[inline(always)]
unsafe fn objectness(
    (logits, out): (*const f32, *mut f32),
    is_background: bool,
    factor: f32,
) -> f64 {
    let (right, wrong) = if is_background { (1, 0) } else { (0, 1) };
    // SAFETY: two values at each pointer, by the caller.
    unsafe {
        let margin = f64::from(*logits.add(wrong)) - f64::from(*logits.add(right));
        let e = (-margin.abs()).exp();
        let of_wrong = if margin > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        let slope = (of_wrong * f64::from(factor)) as f32;
        *out.add(wrong) = slope;
        *out.add(right) = -slope;
        margin.max(0.0) + e.ln_1p()
    }
}

/// `to[j] = operation(j, from[j])`; the pointers may be equal.
#[inline(always)]
unsafe fn map<S: Lanes>(
    from: *const f32,
    to: *mut f32,
    len: usize,
    operation: impl Fn(usize, S) -> S,
) {
    let full = len / LANES * LANES;
    // SAFETY: `len` values at each pointer, by the caller.
    unsafe {
        let mut column = 0;
        while column < full {
            operation(column, S::load(from.add(column))).store(to.add(column));
            column += LANES;
        }
        if full < len {
            let values = S::load_part(from.add(full), len - full, 0.0);
            operation(full, values).store_part(to.add(full), len - full);
        }
    }
}

#[inline(always)]
unsafe fn largest<S: Lanes>(values: *const f32, len: usize) -> f32 {
    let least = f32::NEG_INFINITY;
    // SAFETY: `len` values at the pointer, by the caller.
    unsafe {
        let mut lanes = [S::splat(least); 4];
        let mut column = 0;
        while column + 4 * LANES <= len {
            for (part, lanes) in lanes.iter_mut().enumerate() {
                *lanes = lanes.max(S::load(values.add(column + part * LANES)));
            }
            column += 4 * LANES;
        }
        let [mut a, b, c, d] = lanes;
        while column + LANES <= len {
            a = a.max(S::load(values.add(column)));
            column += LANES;
        }
        if column < len {
            a = a.max(S::load_part(values.add(column), len - column, least));
        }
        a.max(b).max(c.max(d)).largest()
    }
}

/// Sum of `e^(from - largest)`; the powers go to `to` if they are kept.
#[inline(always)]
unsafe fn exp_sum<S: Lanes, const KEEPS: bool>(
    from: *const f32,
    to: *mut f32,
    len: usize,
    largest: f32,
) -> f64 {
    // SAFETY: `len` values at each pointer, by the caller.
    unsafe {
        let largest = S::splat(largest);
        let mut total = 0.0;
        let mut start = 0;
        while start < len {
            let end = len.min(start + CHUNK);
            let mut sums = [S::splat(0.0); 2];
            let mut column = start;
            while column + 2 * LANES <= end {
                for (part, sum) in sums.iter_mut().enumerate() {
                    let column = column + part * LANES;
                    let power = exp(S::load(from.add(column)).sub(largest));
                    if KEEPS {
                        power.store(to.add(column));
                    }
                    *sum = sum.add(power);
                }
                column += 2 * LANES;
            }
            let [mut sum, other] = sums;
            while column < end {
                let count = (end - column).min(LANES);
                let values = if count == LANES {
                    S::load(from.add(column))
                } else {
                    S::load_part(from.add(column), count, f32::NEG_INFINITY)
                };
                let power = exp(values.sub(largest));
                if KEEPS && count == LANES {
                    power.store(to.add(column));
                } else if KEEPS {
                    power.store_part(to.add(column), count);
                }
                sum = sum.add(power);
                column += count;
            }
            total += sum.add(other).sum();
            start = end;
        }
        total
    }
}
