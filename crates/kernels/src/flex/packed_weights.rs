//! Weights in the order of the tile kernel.
#![allow(unsafe_code, reason = "threads write disjoint parts of one buffer")]

use super::parallel::{Target, for_each};
use super::planes::Tap;
use super::pool::Buffer;
use super::tile::Kernels;

/// Weights of all groups as they lie in memory.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) values: &'a [f32],
    pub(super) groups: usize,
    /// Rows of the result and channels to sum over, per group, and the distances between them.
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) steps: [usize; 2],
}

impl Weights<'_> {
    /// In the order of the tile kernel: `[group][block of rows][channel][tap][row]`.
    pub(super) fn pack(&self, taps: &[Tap]) -> Buffer {
        let tile_rows = Kernels::get().rows;
        let blocks = self.rows.div_ceil(tile_rows);
        let block_len = self.channels * taps.len() * tile_rows;
        let mut packed = Buffer::new(self.groups * blocks * block_len);
        let group_len = self.values.len() / self.groups;
        let target = Target::new(packed.as_mut_slice());
        let elements: Vec<usize> = taps.iter().map(|tap| tap.element).collect();
        if block_len > 0 {
            for_each(self.groups * blocks, |index| {
                let (group, first) = (index / blocks, index % blocks * tile_rows);
                let start = group * group_len + first * self.steps[0];
                // SAFETY: these rows lie in the weights, and every block has its own part.
                unsafe {
                    pack_block(&PackedRows {
                        from: self.values[start..].as_ptr(),
                        steps: self.steps,
                        rows: tile_rows.min(self.rows - first),
                        tile_rows,
                        channels: self.channels,
                        elements: &elements,
                        to: target.pointer().add(index * block_len),
                    });
                }
            });
        }
        packed
    }
}

/// One block of rows of weights.
struct PackedRows<'a> {
    from: *const f32,
    steps: [usize; 2],
    rows: usize,
    tile_rows: usize,
    channels: usize,
    elements: &'a [usize],
    to: *mut f32,
}

/// # Safety
/// The pointers must cover what is described.
unsafe fn pack_block(block: &PackedRows) {
    // SAFETY: by the caller.
    unsafe {
        let mut to = block.to;
        for channel in 0..block.channels {
            for &element in block.elements {
                let from = block.from.add(channel * block.steps[1] + element);
                for row in 0..block.tile_rows {
                    *to.add(row) =
                        if row < block.rows { *from.add(row * block.steps[0]) } else { 0.0 };
                }
                to = to.add(block.tile_rows);
            }
        }
    }
}
