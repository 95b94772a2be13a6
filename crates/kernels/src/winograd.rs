//! Which arithmetic 3 x 3 convolutions use.

use std::sync::atomic::{AtomicU8, Ordering};

/// How far 3 x 3 convolutions with stride 1 may be computed by Winograd's minimal filtering (Lavin
/// and Gray, CVPR 2016, <https://arxiv.org/abs/1509.09308>), which needs fewer products and rounds
/// more. Errors are relative to the largest output, or the largest gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winograd {
    /// Never: one product per weight and output.
    Off,
    /// Tiles of 2 x 2 outputs: 2.25 times fewer products, errors below 1e-6.
    F2x2,
    /// Tiles of 4 x 4 outputs as well: 4 times fewer products, errors below 3e-5. The default.
    F4x4,
}

const ALL: [Winograd; 3] = [Winograd::Off, Winograd::F2x2, Winograd::F4x4];

static WINOGRAD: AtomicU8 = AtomicU8::new(Winograd::F4x4 as u8);

/// Sets how far convolutions on `flex` may use minimal filtering, for the whole process. They use
/// it where it is faster.
///
/// A graph built before the call keeps what it was built with.
pub fn set_winograd(winograd: Winograd) {
    WINOGRAD.store(winograd as u8, Ordering::Relaxed);
}

/// The present setting; see [`set_winograd`].
pub fn winograd() -> Winograd {
    ALL[usize::from(WINOGRAD.load(Ordering::Relaxed))]
}
