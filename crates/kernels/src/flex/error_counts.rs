//! How many entries have an error of which size.
#![allow(unsafe_code, reason = "vector arithmetic")]

use std::ops::Range;

use super::focal::{Focal, bin, focal_loss};
use super::lanes::{LANES, Lanes};
use super::loss::Rows;
use super::parallel::Target;
use super::row_blocks::{self, RowBlocks};
use super::sigmoid_targets::Targets;

/// Blocks of rows with counts of their own.
const MAX_BLOCKS: usize = 64;

pub(super) struct ErrorCounts<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) targets: Targets<'a>,
    pub(super) num_bins: usize,
}

impl ErrorCounts<'_> {
    /// The counts of the bins.
    pub(super) fn run(&self) -> Vec<f32> {
        let Self { rows, num_bins, .. } = *self;
        let block = rows.block().max(rows.num_rows.div_ceil(MAX_BLOCKS));
        let num_blocks = rows.num_rows.div_ceil(block);
        let mut counts = vec![0.0_f32; num_blocks * num_bins];
        let blocks = Blocks { of: self, counts: Target::new(&mut counts) };
        row_blocks::run(&blocks, rows.num_rows, block);
        let of_bin = |bin: usize| {
            counts[bin..].iter().step_by(num_bins).map(|&count| f64::from(count)).sum::<f64>()
        };
        (0..num_bins).map(|bin| if counts.is_empty() { 0.0 } else { of_bin(bin) as f32 }).collect()
    }
}

/// The blocks, and where each puts its counts.
struct Blocks<'a> {
    of: &'a ErrorCounts<'a>,
    counts: Target,
}

impl RowBlocks for Blocks<'_> {
    #[inline(always)]
    unsafe fn rows<S: Lanes>(&self, block: usize, rows: Range<usize>) {
        let num_bins = self.of.num_bins;
        // A lane has counts of its own: no entry waits for the one before it.
        let mut lanes = vec![0_u64; num_bins * LANES];
        // SAFETY: every block has counts of its own.
        let counts = unsafe {
            self.of.block::<S>(rows, &mut lanes);
            self.counts.part(block * num_bins, num_bins)
        };
        for (count, lanes) in counts.iter_mut().zip(lanes.chunks_exact(LANES)) {
            *count = lanes.iter().sum::<u64>() as f32;
        }
    }
}

impl ErrorCounts<'_> {
    #[inline(always)]
    unsafe fn block<S: Lanes>(&self, rows: Range<usize>, counts: &mut [u64]) {
        let num_columns = self.rows.num_columns;
        for index in rows {
            if self.rows.factor(index).is_none() {
                continue;
            }
            let (targets, _) = self.targets.row(index, num_columns);
            // SAFETY: a row of logits and its targets.
            unsafe {
                let logits = self.rows.logits.pointer().add(index * num_columns);
                for column in (0..num_columns).step_by(LANES) {
                    let count = (num_columns - column).min(LANES);
                    let logits = if count == LANES {
                        S::load(logits.add(column))
                    } else {
                        S::load_part(logits.add(column), count, 0.0)
                    };
                    let wrong = if count == LANES && targets.are_negative(column) {
                        logits
                    } else {
                        let targets = targets.at::<S>(column, count);
                        logits.mul(S::splat(1.0).sub(targets.add(targets)))
                    };
                    let none = S::splat(0.0);
                    let (_, fault) = focal_loss::<S, { Focal::No as u8 }>(wrong, none, &[]);
                    let mut places = [0.0_f32; LANES];
                    bin(fault, self.num_bins).store(places.as_mut_ptr());
                    for (lane, &place) in places[..count].iter().enumerate() {
                        counts[place as usize * LANES + lane] += 1;
                    }
                }
            }
        }
    }
}
