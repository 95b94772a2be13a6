//! The gradient of the logits, written row by row.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use super::lanes::{LANES, Lanes};
use super::parallel::Target;

/// Bytes from which on a gradient goes around the caches: none of them keeps it until it is read.
/// A store would fetch the old values first, a third of all traffic of such a loss.
const STREAMED: usize = 16 << 20;
/// Bytes of a cache line: a whole one is streamed.
const LINE: usize = 64;

/// Where the gradient goes.
#[derive(Clone, Copy)]
pub(super) struct GradientRows {
    to: Target,
    num_columns: usize,
    is_streamed: bool,
}

impl GradientRows {
    /// In memory of its own.
    pub(super) fn fresh(to: Target, [num_rows, num_columns]: [usize; 2]) -> Self {
        let is_streamed = num_rows * num_columns * size_of::<f32>() >= STREAMED;
        Self { to, num_columns, is_streamed }
    }

    /// Over the logits, which are in cache by then.
    pub(super) fn over_logits(to: Target, num_columns: usize) -> Self {
        Self { to, num_columns, is_streamed: false }
    }

    /// Where a row may be written directly; `None` if only through [`write`](Self::write).
    ///
    /// # Safety
    /// The row is one of the gradient.
    pub(super) unsafe fn direct(self, row: usize) -> Option<*mut f32> {
        // SAFETY: within the gradient, by the caller.
        (!self.is_streamed).then(|| unsafe { self.at(row, 0) })
    }

    /// # Safety
    /// The entry is one of the gradient.
    pub(super) unsafe fn at(self, row: usize, column: usize) -> *mut f32 {
        // SAFETY: by the caller.
        unsafe { self.to.pointer().add(row * self.num_columns + column) }
    }

    /// Zeros in `len` columns from the first on.
    ///
    /// # Safety
    /// The row belongs to the calling task, and the instruction set of `S` is there.
    #[inline(always)]
    pub(super) unsafe fn clear<S: Lanes>(self, row: usize, len: usize) {
        // SAFETY: by the caller.
        unsafe {
            let (to, zero) = (self.at(row, 0), S::splat(0.0));
            if !self.is_streamed {
                to.write_bytes(0, len);
                return;
            }
            let mut done = until_line(to).min(len);
            zero.store_part(to, done);
            while done + LANES <= len {
                zero.stream(to.add(done));
                done += LANES;
            }
            zero.store_part(to.add(done), len - done);
        }
    }

    /// `factor * values` in `len` columns from `column` on.
    ///
    /// # Safety
    /// As for [`clear`](Self::clear), and there are `len` values.
    #[inline(always)]
    pub(super) unsafe fn write<S: Lanes>(
        self,
        (row, column): (usize, usize),
        values: *const f32,
        len: usize,
        factor: f32,
    ) {
        // SAFETY: by the caller; parts are shorter than a vector.
        unsafe {
            let (to, factor) = (self.at(row, column), S::splat(factor));
            let mut done = 0;
            if self.is_streamed {
                done = until_line(to).min(len);
                S::load_part(values, done, 0.0).mul(factor).store_part(to, done);
                while done + LANES <= len {
                    S::load(values.add(done)).mul(factor).stream(to.add(done));
                    done += LANES;
                }
            } else {
                while done + LANES <= len {
                    S::load(values.add(done)).mul(factor).store(to.add(done));
                    done += LANES;
                }
            }
            if done < len {
                let (values, to) = (values.add(done), to.add(done));
                S::load_part(values, len - done, 0.0).mul(factor).store_part(to, len - done);
            }
        }
    }
}

/// Values before the next cache line.
#[inline(always)]
fn until_line(to: *const f32) -> usize {
    (to.addr().wrapping_neg() % LINE) / size_of::<f32>()
}
