//! 3 x 3 kernels on their way to transformed values, and sums on their way to weight gradients.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the inner loops")]
#![allow(clippy::needless_range_loop, reason = "indices keep tiles in registers")]

use super::simd::{MAX_LANES, Simd, dispatch, prefetch};
use super::winograd::{Four, Scheme, Transform, Two};

/// Kernels of so many channels are on their way from memory.
const AHEAD: usize = 6;

/// Kernels of one block of channels in the lanes and a range of the other channels.
pub(super) struct Filters {
    pub(super) scheme: Scheme,
    /// Kernel of the first lane and the first other channel: 9 values.
    pub(super) weight: *mut f32,
    /// Distance between the kernels of two lanes, and of two other channels.
    pub(super) steps: [usize; 2],
    /// Lanes in use.
    pub(super) lanes: usize,
    /// Other channels.
    pub(super) depth: usize,
    /// Kernels turned by half a turn.
    pub(super) is_flipped: bool,
    /// Transformed values, one vector for each of the other channels and each position.
    pub(super) values: *mut f32,
    pub(super) depth_step: usize,
    pub(super) position_step: usize,
}

#[inline(always)]
unsafe fn lift_filters<S: Simd, T: Transform>(filters: &Filters) {
    unsafe {
        for k in 0..filters.depth {
            let from = filters.weight.add(k * filters.steps[1]).cast_const();
            let ahead = from.wrapping_add(AHEAD * filters.steps[1]);
            for lane in 0..S::LANES {
                prefetch(ahead.wrapping_add(lane * filters.steps[0]));
            }
            let mut taps = [S::splat(0.0); MAX_LANES];
            let mut first = 0;
            while first < 9 {
                let count = S::LANES.min(9 - first);
                let mut block = [S::splat(0.0); MAX_LANES];
                for lane in 0..S::LANES {
                    if lane < filters.lanes {
                        let from = from.add(lane * filters.steps[0] + first);
                        block[lane] = S::load_part(from, count);
                    }
                }
                S::transpose(&mut block);
                taps[first..first + count].copy_from_slice(&block[..count]);
                first += S::LANES;
            }
            if filters.is_flipped {
                for tap in 0..4 {
                    (taps[tap], taps[8 - tap]) = (taps[8 - tap], taps[tap]);
                }
            }
            let mut rows = [[S::splat(0.0); 6]; 3];
            for i in 0..3 {
                rows[i] = T::weight([taps[3 * i], taps[3 * i + 1], taps[3 * i + 2]]);
            }
            let to = filters.values.add(k * filters.depth_step);
            for j in 0..T::SIZE {
                let column = T::weight([rows[0][j], rows[1][j], rows[2][j]]);
                for i in 0..T::SIZE {
                    column[i].store(to.add((i * T::SIZE + j) * filters.position_step));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn drain_filters<S: Simd, T: Transform>(filters: &Filters) {
    unsafe {
        for k in 0..filters.depth {
            let from = filters.values.add(k * filters.depth_step).cast_const();
            let mut rows = [[S::splat(0.0); 3]; 6];
            for i in 0..T::SIZE {
                let mut row = [S::splat(0.0); 6];
                for j in 0..T::SIZE {
                    row[j] = S::load(from.add((i * T::SIZE + j) * filters.position_step));
                }
                rows[i] = T::weight_gradient(row);
            }
            let mut taps = [S::splat(0.0); MAX_LANES];
            for j in 0..3 {
                let mut column = [S::splat(0.0); 6];
                for i in 0..T::SIZE {
                    column[i] = rows[i][j];
                }
                let column = T::weight_gradient(column);
                for i in 0..3 {
                    taps[3 * i + j] = column[i];
                }
            }
            let to = filters.weight.add(k * filters.steps[1]);
            let mut first = 0;
            while first < 9 {
                let count = S::LANES.min(9 - first);
                let mut block = [S::splat(0.0); MAX_LANES];
                block[..count].copy_from_slice(&taps[first..first + count]);
                S::transpose(&mut block);
                for lane in 0..S::LANES {
                    if lane < filters.lanes {
                        block[lane].store_part(to.add(lane * filters.steps[0] + first), count);
                    }
                }
                first += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn lift_weight_body<S: Simd>(filters: &Filters) {
    unsafe {
        match filters.scheme {
            Scheme::Two => lift_filters::<S, Two>(filters),
            Scheme::Four => lift_filters::<S, Four>(filters),
        }
    }
}

#[inline(always)]
unsafe fn drain_weight_body<S: Simd>(filters: &Filters) {
    unsafe {
        match filters.scheme {
            Scheme::Two => drain_filters::<S, Two>(filters),
            Scheme::Four => drain_filters::<S, Four>(filters),
        }
    }
}

dispatch! {
    /// `G w G^T` of every kernel.
    ///
    /// # Safety
    /// The pointers must cover what the filters describe.
    pub(super) unsafe fn lift_weight(filters: &Filters) = lift_weight_body
}

dispatch! {
    /// `G^T u G` of every kernel, into weight gradients.
    ///
    /// # Safety
    /// The pointers must cover what the filters describe.
    pub(super) unsafe fn drain_weight(filters: &Filters) = drain_weight_body
}
