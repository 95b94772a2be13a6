//! Softmax losses, row by row: loss and gradient while the row is in cache.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2Lanes, Avx512Lanes};
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::Rows;
use super::loss_tables::SoftmaxTables;
use super::parallel::{Target, for_each_row_block};
use super::pool::Buffer;
use super::row::{exp_sum, largest, map};
use super::simd::{Isa, isa};
use crate::loss_backend::{ShiftConfig, SoftmaxConfig};
use crate::random_mask::row_key;

/// Far below any logit: `e` to this power is 0.
const LEFT_OUT: f32 = -1e7;

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
        for_each_row_block(num_rows.div_ceil(block), |index| {
            let rows = index * block..num_rows.min((index + 1) * block);
            // SAFETY: the instruction set was detected; rows belong to one task.
            unsafe {
                match isa() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => self.block_avx512(rows, losses, gradient),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => self.block_avx2(rows, losses, gradient),
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

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn block_avx512(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        unsafe { self.block::<Avx512Lanes>(rows, losses, gradient) }
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
                    (0..num_classes).for_each(|column| *out.add(column) = f32::NAN);
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
            map!(S, out, out, len, |_, power| power.mul(slopes));
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
                ShiftConfig::None => map!(S, logits, out, len, |_, logit| logit.mul(scales)),
                ShiftConfig::PerColumn => {
                    label_shift = *table.add(label);
                    map!(S, logits, out, len, |column, logit| {
                        logit.mul(scales).add(S::load(table.add(column)))
                    });
                }
                ShiftConfig::PerEntry => {
                    let entries = self.entries[index * len..(index + 1) * len].as_ptr();
                    label_shift = *entries.add(label);
                    map!(S, logits, out, len, |column, logit| {
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
                    map!(S, logits, out, len, |column, logit| {
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
                    map!(S, logits, out, len, |column, logit| {
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
