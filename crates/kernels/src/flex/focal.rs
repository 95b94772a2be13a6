//! The focal loss of entries.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::exp::{Logistic, exp, logistic};
use super::lanes::Lanes;

/// How entries that are already right count less.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Focal {
    No,
    /// `(1 - p_t)^2`, RetinaNet's.
    Square,
    /// `(1 - p_t)^gamma` with one `gamma` per column.
    Table,
    /// A weight by the size of `1 - p_t`, which is a constant to the gradient.
    Bins,
}

/// `(1 - p)^gamma (-ln p)` with `p = sigmoid(-wrong)`, and its derivative by `wrong`. `bins` are the
/// weights of [`Focal::Bins`], at least one.
#[inline(always)]
pub(super) unsafe fn focal_loss<S: Lanes, const FOCAL: u8>(
    wrong: S,
    gamma: S,
    bins: &[f32],
) -> (S, S) {
    // SAFETY: by the caller: the instruction set of `S` is there.
    unsafe {
        let zero = S::splat(0.0);
        let Logistic { large, small, log } = logistic(wrong);
        let loss = zero.max(wrong).add(log); // -ln p
        let fault = wrong.if_negative(small, large); // 1 - p
        if FOCAL == Focal::No as u8 {
            return (loss, fault);
        }
        if FOCAL == Focal::Bins as u8 {
            let weights = bin(fault, bins.len()).lookup(bins.as_ptr());
            return (loss.mul(weights), fault.mul(weights));
        }
        let right = wrong.if_negative(large, small); // p
        let (gamma, power) = if FOCAL == Focal::Square as u8 {
            (S::splat(2.0), fault.mul(fault))
        } else {
            let log_fault = zero.sub(zero.max(zero.sub(wrong)).add(log));
            (gamma, exp(gamma.mul(log_fault)))
        };
        let slope = gamma.mul(right).mul_add(loss, fault);
        (loss.mul(power), slope.mul(power))
    }
}

/// The place of an error among `num_bins` bins, to be rounded down; 0 of NaN.
#[inline(always)]
pub(super) unsafe fn bin<S: Lanes>(fault: S, num_bins: usize) -> S {
    // SAFETY: by the caller.
    unsafe {
        let place = fault.mul(S::splat(num_bins as f32)).max(S::splat(0.0));
        place.min(S::splat(num_bins as f32 - 0.5))
    }
}
