//! What the methods put into the exponents of their softmax.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::lanes::{LANES, Lanes};
use super::row::Argument;

/// Far below any logit: `e` to this power is 0.
const LEFT_OUT: f32 = -1e7;

/// `scale z`
pub(super) struct Scaled(pub(super) f32);

impl Argument for Scaled {
    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, _column: usize, _count: usize, logits: S) -> S {
        // SAFETY: by the caller.
        unsafe { logits.mul(S::splat(self.0)) }
    }
}

/// `scale z + shift`, one shift for each column.
pub(super) struct ShiftedColumns {
    pub(super) scale: f32,
    /// Full vectors.
    pub(super) shift: *const f32,
}

impl Argument for ShiftedColumns {
    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, column: usize, _count: usize, logits: S) -> S {
        // SAFETY: by the caller; the table is of full vectors.
        unsafe { logits.mul_add(S::splat(self.scale), S::load(self.shift.add(column))) }
    }
}

/// `scale z + shift`, the shifts being those of a row.
pub(super) struct ShiftedEntries {
    pub(super) scale: f32,
    pub(super) shift: *const f32,
}

impl Argument for ShiftedEntries {
    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, column: usize, count: usize, logits: S) -> S {
        // SAFETY: by the caller; `count` shifts are left.
        unsafe {
            let shift = self.shift.add(column);
            let shift =
                if count == LANES { S::load(shift) } else { S::load_part(shift, count, 0.0) };
            logits.mul_add(S::splat(self.scale), shift)
        }
    }
}

/// `scale z`, but far below where the draw leaves a column out.
pub(super) struct Masked {
    pub(super) scale: f32,
    /// 1 for the columns that may be left out; full vectors, as the keys.
    pub(super) columns: *const f32,
    pub(super) keys: *const u32,
    pub(super) row_key: u32,
    pub(super) bound: u32,
}

impl Argument for Masked {
    const IS_KEPT: bool = true;

    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, column: usize, _count: usize, logits: S) -> S {
        // SAFETY: by the caller; tables are of full vectors.
        unsafe {
            let drawn = S::drawn(self.keys.add(column), self.row_key, self.bound);
            let drawn = drawn.mul(S::load(self.columns.add(column)));
            drawn.mul_add(S::splat(LEFT_OUT), logits.mul(S::splat(self.scale)))
        }
    }
}

/// `scale z + ln S`; see [`SeesawShift`](crate::SeesawShift).
pub(super) struct Seesaw {
    pub(super) scale: f32,
    pub(super) p: f32,
    pub(super) q: f32,
    /// Of the columns, full vectors, and of the label.
    pub(super) log_counts: *const f32,
    pub(super) log_count: f32,
    /// Logarithm of the sum of `e^(z - base)`.
    pub(super) log_sum: f32,
    pub(super) base: f32,
    /// Logarithm of the label's probability, or the least that counts.
    pub(super) log_score: f32,
}

impl Argument for Seesaw {
    const IS_KEPT: bool = true;

    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, column: usize, _count: usize, logits: S) -> S {
        // SAFETY: by the caller; the table is of full vectors.
        unsafe {
            let zero = S::splat(0.0);
            let counts = S::load(self.log_counts.add(column)).sub(S::splat(self.log_count));
            let scores = logits.sub(S::splat(self.base)).sub(S::splat(self.log_sum));
            let scores = scores.sub(S::splat(self.log_score));
            let shift = zero.min(counts).mul(S::splat(self.p));
            let shift = zero.max(scores).mul_add(S::splat(self.q), shift);
            shift.add(logits.mul(S::splat(self.scale)))
        }
    }
}
