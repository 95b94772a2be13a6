//! How many entries have an error of which size.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::focal::{Focal, bin, focal_loss};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2Lanes, Avx512Lanes};
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::Rows;
use super::parallel::{Target, for_each_row_block};
use super::sigmoid_targets::Targets;
use super::simd::{Isa, isa};

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
        let target = Target::new(&mut counts);
        for_each_row_block(num_blocks, |index| {
            let of_block = index * block..rows.num_rows.min((index + 1) * block);
            // A lane has counts of its own: no entry waits for the one before it.
            let mut lanes = vec![0_u64; num_bins * LANES];
            // SAFETY: the instruction set was detected.
            unsafe {
                match isa() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => self.block_avx512(of_block, &mut lanes),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => self.block_avx2(of_block, &mut lanes),
                    Isa::Portable => self.block::<PortableLanes>(of_block, &mut lanes),
                }
            }
            // SAFETY: every block has counts of its own.
            let counts = unsafe { target.part(index * num_bins, num_bins) };
            for (count, lanes) in counts.iter_mut().zip(lanes.chunks_exact(LANES)) {
                *count = lanes.iter().sum::<u64>() as f32;
            }
        });
        let of_bin = |bin: usize| {
            counts[bin..].iter().step_by(num_bins).map(|&count| f64::from(count)).sum::<f64>()
        };
        (0..num_bins).map(|bin| if counts.is_empty() { 0.0 } else { of_bin(bin) as f32 }).collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block_avx2(&self, rows: std::ops::Range<usize>, counts: &mut [u64]) {
        unsafe { self.block::<Avx2Lanes>(rows, counts) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn block_avx512(&self, rows: std::ops::Range<usize>, counts: &mut [u64]) {
        unsafe { self.block::<Avx512Lanes>(rows, counts) }
    }

    #[inline(always)]
    unsafe fn block<S: Lanes>(&self, rows: std::ops::Range<usize>, counts: &mut [u64]) {
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
