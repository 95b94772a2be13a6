//! Sums of absolute gradients over the rows, block by block.
#![allow(unsafe_code, reason = "tasks write disjoint sums")]

use super::lanes::LANES;
use super::parallel::Target;
use super::pool::Buffer;

/// Most blocks with sums of their own.
const MAX_BLOCKS: usize = 64;
/// Blocks for so many threads, however few the rows.
const FEW_BLOCKS: usize = 8;
/// Rows that make up for what clearing and adding up the sums of a block costs.
const LEAST_ROWS: usize = 64;
/// Columns added up at a time.
const CHUNK: usize = 512;

/// Fewest rows of a block; it depends on the shape alone.
pub(super) fn rows_per_block(num_rows: usize) -> usize {
    num_rows.div_ceil(MAX_BLOCKS).max(LEAST_ROWS.min(num_rows.div_ceil(FEW_BLOCKS)))
}

/// The sums of every block: of negatives, then of positives, each in full vectors.
pub(super) struct Sums {
    buffer: Buffer,
    num_columns: usize,
}

impl Sums {
    /// Zeros; at least one block.
    pub(super) fn new(num_blocks: usize, num_columns: usize) -> Self {
        let padded = num_columns.next_multiple_of(LANES);
        Self { buffer: Buffer::zeros(num_blocks.max(1) * 2 * padded), num_columns }
    }

    /// Where the blocks put theirs.
    pub(super) fn blocks(&mut self) -> BlockSums {
        let padded = self.num_columns.next_multiple_of(LANES);
        BlockSums { sums: Target::new(self.buffer.as_mut_slice()), len: 2 * padded }
    }

    /// Of all blocks, `[2, columns]`, positives first.
    pub(super) fn total(&self) -> Buffer {
        let num_columns = self.num_columns;
        let padded = num_columns.next_multiple_of(LANES);
        let mut total = Buffer::new(2 * num_columns);
        if num_columns == 0 {
            return total;
        }
        let (positive, negative) = total.as_mut_slice().split_at_mut(num_columns);
        for (part, to) in [negative, positive].into_iter().enumerate() {
            for (index, to) in to.chunks_mut(CHUNK).enumerate() {
                let mut sums = [0.0_f64; CHUNK];
                for block in self.buffer.as_slice().chunks_exact(2 * padded) {
                    let of_block = &block[part * padded + index * CHUNK..][..to.len()];
                    for (sum, &value) in sums.iter_mut().zip(of_block) {
                        *sum += f64::from(value);
                    }
                }
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
            }
        }
        total
    }
}

/// Where every block of rows puts its sums.
#[derive(Clone, Copy)]
pub(super) struct BlockSums {
    sums: Target,
    len: usize,
}

impl BlockSums {
    /// # Safety
    /// There is such a block.
    pub(super) unsafe fn of(self, block: usize) -> *mut f32 {
        // SAFETY: within the sums, by the caller.
        unsafe { self.sums.pointer().add(block * self.len) }
    }
}
