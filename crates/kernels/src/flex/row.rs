//! The exponentials of a row, in one pass.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::exp::exp;
use super::lanes::{LANES, Lanes};
use super::ln::ln;

/// Columns whose exponentials are added up in single precision.
const CHUNK: usize = 1024;
/// How far an argument may be above the base: `e` to this power, and many of them, are no trouble.
const ABOVE: f32 = 40.0;
/// Below the base by this much an exponential is still exact.
const BELOW: f32 = 10.0;

/// What stands in the exponents.
pub(super) trait Argument {
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
    /// Fills `powers`, which are not the logits.
    ///
    /// The base is the largest argument of the first vector: it saves a pass over the row for the
    /// largest of all, which takes its place where it is far above.
    ///
    /// # Safety
    /// The instruction set of `S` is there, and the pointers are valid.
    #[inline(always)]
    pub(super) unsafe fn exponentials<S: Lanes>(&self, powers: *mut f32) -> Exponentials {
        // SAFETY: by the caller.
        unsafe {
            let mut base = self.arguments::<S>(0, self.len.min(LANES)).largest();
            let mut is_largest = false;
            loop {
                let (sum, largest) = self.pass::<S>(base, powers);
                if is_largest || largest - base <= ABOVE {
                    return Exponentials { base, sum };
                }
                (base, is_largest) = (largest, true);
            }
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

    /// Sum of the powers, and the largest argument, which may pass over NaN.
    #[inline(always)]
    unsafe fn pass<S: Lanes>(&self, base: f32, powers: *mut f32) -> (f64, f32) {
        // SAFETY: by the caller.
        unsafe {
            let bases = S::splat(base);
            let mut largest = [S::splat(f32::NEG_INFINITY); 2];
            let mut total = 0.0;
            let mut column = 0;
            while column < self.len {
                let end = self.len.min(column + CHUNK);
                let mut sums = [S::splat(0.0); 2];
                while column + 2 * LANES <= end {
                    for (sum, largest) in sums.iter_mut().zip(&mut largest) {
                        let arguments = self.arguments::<S>(column, LANES);
                        let power = exp(arguments.sub(bases));
                        power.store(powers.add(column));
                        *sum = sum.add(power);
                        *largest = largest.max(arguments);
                        column += LANES;
                    }
                }
                while column < end {
                    let count = (end - column).min(LANES);
                    let arguments = self.arguments::<S>(column, count);
                    let power = exp(arguments.sub(bases));
                    if count == LANES {
                        power.store(powers.add(column));
                    } else {
                        power.store_part(powers.add(column), count);
                    }
                    sums[0] = sums[0].add(power);
                    largest[0] = largest[0].max(arguments);
                    column += LANES;
                }
                total += sums[0].add(sums[1]).sum();
            }
            (total, largest[0].max(largest[1]).largest())
        }
    }
}
