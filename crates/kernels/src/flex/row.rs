//! Passes over a row that is in cache.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::exp::exp;
use super::lanes::{LANES, Lanes};

/// Columns whose exponentials are added up in single precision.
const CHUNK: usize = 1024;

/// `to[j] = operation(j, from[j])` for `len` values of two pointers, which may be equal, a vector of
/// type `$S` at a time. A macro, since the compiler may not inline a closure, and outside of its
/// caller the vector instructions would be calls.
macro_rules! map {
    ($S:ty, $from:expr, $to:expr, $len:expr, |$column:pat_param, $values:ident| $operation:expr) => {{
        let (from, to, len) = ($from, $to, $len);
        let mut column = 0;
        while column + LANES <= len {
            let ($column, $values) = (column, <$S>::load(from.add(column)));
            $operation.store(to.add(column));
            column += LANES;
        }
        if column < len {
            let ($column, $values) = (column, <$S>::load_part(from.add(column), len - column, 0.0));
            $operation.store_part(to.add(column), len - column);
        }
    }};
}
pub(super) use map;

#[inline(always)]
pub(super) unsafe fn largest<S: Lanes>(values: *const f32, len: usize) -> f32 {
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
pub(super) unsafe fn exp_sum<S: Lanes, const KEEPS: bool>(
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
