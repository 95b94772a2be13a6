//! The gradient of the logits, written row by row.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use super::lanes::{LANES, Lanes};
use super::parallel::Target;

/// Columns from which on a row is written while it is computed: a burst of so many stores would
/// wait for memory, where shorter ones wait beside the next row.
const WIDE: usize = 4096;

/// Where the gradient goes.
#[derive(Clone, Copy)]
pub(super) struct GradientRows {
    to: Target,
    num_columns: usize,
    is_fresh: bool,
}

impl GradientRows {
    /// In memory of its own.
    pub(super) fn fresh(to: Target, num_columns: usize) -> Self {
        Self { to, num_columns, is_fresh: true }
    }

    /// Over the logits.
    pub(super) fn over_logits(to: Target, num_columns: usize) -> Self {
        Self { to, num_columns, is_fresh: false }
    }

    /// Where the powers of a row are best put before they become its gradient, if not into a scratch.
    ///
    /// # Safety
    /// The row is one of the gradient.
    pub(super) unsafe fn for_powers(self, row: usize) -> Option<*mut f32> {
        // SAFETY: by the caller.
        (self.is_fresh && self.num_columns >= WIDE).then(|| unsafe { self.at(row, 0) })
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
    /// The row belongs to the calling task.
    pub(super) unsafe fn clear(self, row: usize, len: usize) {
        // SAFETY: by the caller.
        unsafe { self.at(row, 0).write_bytes(0, len) }
    }

    /// `factor * values` in `len` columns from `column` on.
    ///
    /// # Safety
    /// The row belongs to the calling task, the instruction set of `S` is there, and there are `len`
    /// values, possibly those of the row.
    #[inline(always)]
    pub(super) unsafe fn write<S: Lanes>(
        self,
        (row, column): (usize, usize),
        values: *const f32,
        len: usize,
        factor: f32,
    ) {
        // SAFETY: by the caller.
        unsafe {
            let (to, factor) = (self.at(row, column), S::splat(factor));
            let mut done = 0;
            while done + LANES <= len {
                S::load(values.add(done)).mul(factor).store(to.add(done));
                done += LANES;
            }
            if done < len {
                let (values, to) = (values.add(done), to.add(done));
                S::load_part(values, len - done, 0.0).mul(factor).store_part(to, len - done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::pool::Buffer;
    use crate::flex::row_blocks::{self, RowBlocks};

    const NUM_ROWS: usize = 5;

    /// Even rows are twice the values, odd rows zeros.
    struct Halves<'a> {
        values: &'a [f32],
        gradient: GradientRows,
    }

    impl RowBlocks for Halves<'_> {
        unsafe fn rows<S: Lanes>(&self, _block: usize, rows: std::ops::Range<usize>) {
            let len = self.gradient.num_columns;
            for row in rows {
                // SAFETY: rows of the gradient and of the values, of this task alone.
                unsafe {
                    if row % 2 == 1 {
                        self.gradient.clear(row, len);
                        continue;
                    }
                    // In two parts, of which the second starts anywhere.
                    let (first, values) = (len / 3, self.values[row * len..].as_ptr());
                    self.gradient.write::<S>((row, 0), values, first, 2.0);
                    self.gradient.write::<S>((row, first), values.add(first), len - first, 2.0);
                }
            }
        }
    }

    #[test]
    fn rows_of_any_length_are_written_and_nothing_else() {
        for num_columns in [1, 3, 15, 16, 17, 37, 80, 365] {
            let len = NUM_ROWS * num_columns;
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let mut to = Buffer::new(len + 1);
            to.as_mut_slice().fill(-1.0);
            let target = Target::new(to.as_mut_slice());
            let gradient = GradientRows::fresh(target, num_columns);
            row_blocks::run(&Halves { values: &values, gradient }, NUM_ROWS, 2);
            for (index, &value) in values.iter().enumerate() {
                let expected = if index / num_columns % 2 == 1 { 0.0 } else { 2.0 * value };
                assert_eq!(to.as_slice()[index], expected, "{num_columns} columns, {index}");
            }
            assert_eq!(to.as_slice()[len], -1.0, "{num_columns} columns");
        }
    }
}
