//! The exponentials of a row.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::exp::exp;
use super::lanes::{LANES, Lanes};
use super::ln::ln;
use super::simd::prefetch;

/// Columns whose exponentials are added up in single precision.
const CHUNK: usize = 1024;
/// Below the base by this much an exponential is still exact.
const BELOW: f32 = 10.0;

/// What stands in the exponents.
pub(super) trait Argument {
    /// Whether to keep arguments is cheaper than to find them twice.
    const IS_KEPT: bool = false;

    /// That of `count` columns from `column` on, a full vector or the last ones of a row; beyond
    /// them anything.
    ///
    /// # Safety
    /// The instruction set of `S` is there, and there are so many columns.
    unsafe fn at<S: Lanes>(&self, column: usize, count: usize, logits: S) -> S;
}

/// The logits themselves.
pub(super) struct Plain;

impl Argument for Plain {
    #[inline(always)]
    unsafe fn at<S: Lanes>(&self, _column: usize, _count: usize, logits: S) -> S {
        logits
    }
}

/// A row of logits and what becomes of them.
pub(super) struct Row<A> {
    /// `len` values.
    pub(super) logits: *const f32,
    pub(super) len: usize,
    pub(super) argument: A,
    /// A column whose argument is another one.
    pub(super) exception: Option<(usize, f32)>,
    /// What is read next, fetched on the way; any address.
    pub(super) next: *const f32,
}

/// Powers `e^(argument - base)` and their sum.
#[derive(Clone, Copy)]
pub(super) struct Exponentials {
    pub(super) base: f32,
    pub(super) sum: f64,
}

impl Exponentials {
    /// The logarithm of the sum of the powers of `e`, less one of the arguments, whose power is
    /// given. It is not negative.
    #[inline(always)]
    pub(super) fn log_sum_beyond(self, argument: f32, power: f32) -> LogSum {
        if argument - self.base > -BELOW {
            LogSum { ratio: self.sum / f64::from(power), offset: 0.0 }
        } else {
            let offset = f64::from(self.base) - f64::from(argument);
            LogSum { ratio: self.sum, offset }
        }
    }
}

/// `ln(ratio) + offset`; the logarithms of several rows are taken at once.
#[derive(Clone, Copy)]
pub(super) struct LogSum {
    pub(super) ratio: f64,
    pub(super) offset: f64,
}

impl LogSum {
    pub(super) const ZERO: Self = Self { ratio: 1.0, offset: 0.0 };

    #[inline(always)]
    pub(super) fn value(self) -> f64 {
        ln(self.ratio) + self.offset
    }
}

impl<A: Argument> Row<A> {
    /// Fills `powers`, which are not the logits. The base is the largest argument.
    ///
    /// # Safety
    /// The instruction set of `S` is there, and the pointers are valid.
    #[inline(always)]
    pub(super) unsafe fn exponentials<S: Lanes>(&self, powers: *mut f32) -> Exponentials {
        // SAFETY: by the caller.
        unsafe {
            let base = self.largest::<S>(powers);
            Exponentials { base, sum: self.sum::<S>(base, powers) }
        }
    }

    /// The largest argument, which may pass over NaN; keeps the arguments if they are kept.
    #[inline(always)]
    unsafe fn largest<S: Lanes>(&self, kept: *mut f32) -> f32 {
        // SAFETY: by the caller.
        unsafe {
            let mut largest = [S::splat(f32::NEG_INFINITY); 4];
            let mut column = 0;
            while column + 4 * LANES <= self.len {
                for largest in &mut largest {
                    let arguments = self.arguments::<S>(column, LANES);
                    if A::IS_KEPT {
                        arguments.store(kept.add(column));
                    }
                    *largest = largest.max(arguments);
                    column += LANES;
                }
            }
            let [mut a, b, c, d] = largest;
            while column < self.len {
                let count = (self.len - column).min(LANES);
                let arguments = self.arguments::<S>(column, count);
                if A::IS_KEPT {
                    store(arguments, kept.add(column), count);
                }
                a = a.max(arguments);
                column += LANES;
            }
            a.max(b).max(c.max(d)).largest()
        }
    }

    /// Those of `count` columns, -inf beyond.
    #[inline(always)]
    unsafe fn arguments<S: Lanes>(&self, column: usize, count: usize) -> S {
        // SAFETY: `count` values are left in the row, by the caller.
        unsafe {
            let logits = if count == LANES {
                S::load(self.logits.add(column))
            } else {
                S::load_part(self.logits.add(column), count, 0.0)
            };
            let mut arguments = self.argument.at(column, count, logits);
            if let Some((place, argument)) = self.exception
                && place & !(LANES - 1) == column
            {
                arguments = arguments.with(place - column, argument);
            }
            if count < LANES { arguments.filled_from(count, f32::NEG_INFINITY) } else { arguments }
        }
    }

    /// As [`arguments`](Self::arguments), from where they are kept.
    #[inline(always)]
    unsafe fn kept_arguments<S: Lanes>(&self, kept: *const f32, column: usize, count: usize) -> S {
        // SAFETY: by the caller.
        unsafe {
            match count {
                _ if !A::IS_KEPT => self.arguments(column, count),
                LANES => S::load(kept.add(column)),
                _ => S::load_part(kept.add(column), count, f32::NEG_INFINITY),
            }
        }
    }

    /// Sum of the powers.
    #[inline(always)]
    unsafe fn sum<S: Lanes>(&self, base: f32, powers: *mut f32) -> f64 {
        // SAFETY: by the caller.
        unsafe {
            let bases = S::splat(base);
            let mut total = 0.0;
            let mut column = 0;
            while column < self.len {
                let end = self.len.min(column + CHUNK);
                let mut sums = [S::splat(0.0); 2];
                while column + 2 * LANES <= end {
                    for sum in &mut sums {
                        prefetch(self.next.wrapping_add(column));
                        let arguments = self.kept_arguments::<S>(powers, column, LANES);
                        let power = exp(arguments.sub(bases));
                        power.store(powers.add(column));
                        *sum = sum.add(power);
                        column += LANES;
                    }
                }
                while column < end {
                    let count = (end - column).min(LANES);
                    prefetch(self.next.wrapping_add(column));
                    let arguments = self.kept_arguments::<S>(powers, column, count);
                    let power = exp(arguments.sub(bases));
                    store(power, powers.add(column), count);
                    sums[0] = sums[0].add(power);
                    column += LANES;
                }
                total += sums[0].add(sums[1]).sum();
            }
            total
        }
    }
}

/// `count` values.
#[inline(always)]
unsafe fn store<S: Lanes>(values: S, to: *mut f32, count: usize) {
    // SAFETY: by the caller.
    unsafe { if count == LANES { values.store(to) } else { values.store_part(to, count) } }
}
