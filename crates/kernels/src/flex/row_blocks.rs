//! Blocks of rows, shared out to threads, with the arithmetic of the best instruction set.
#![allow(unsafe_code, reason = "one version per instruction set")]

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2Lanes, Avx512Lanes};
use super::lanes::{Lanes, PortableLanes};
use super::parallel::for_each_row_block;
use super::simd::{Isa, isa};

/// What is done with the rows of a loss.
pub(super) trait RowBlocks: Sync {
    /// Block number `block`, the given rows.
    ///
    /// # Safety
    /// The instruction set of `S` must be there, and the rows belong to the calling task alone.
    unsafe fn rows<S: Lanes>(&self, block: usize, rows: Range<usize>);
}

/// Runs `work` on all rows.
pub(super) fn run(work: &impl RowBlocks, num_rows: usize, rows_per_block: usize) {
    for_each_row_block(num_rows.div_ceil(rows_per_block), |block| {
        let rows = block * rows_per_block..num_rows.min((block + 1) * rows_per_block);
        // SAFETY: the instruction set was detected; blocks share no row.
        unsafe {
            match isa() {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512(work, block, rows),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2(work, block, rows),
                Isa::Portable => work.rows::<PortableLanes>(block, rows),
            }
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(work: &impl RowBlocks, block: usize, rows: Range<usize>) {
    // SAFETY: by the caller.
    unsafe { work.rows::<Avx512Lanes>(block, rows) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(work: &impl RowBlocks, block: usize, rows: Range<usize>) {
    // SAFETY: by the caller.
    unsafe { work.rows::<Avx2Lanes>(block, rows) }
}
