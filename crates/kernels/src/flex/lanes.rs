//! Sixteen values at a time, with the arithmetic that the losses need.
#![allow(unsafe_code, reason = "vector intrinsics")]

/// Values of a vector.
pub(super) const LANES: usize = 16;
/// Adding it to a float of moderate size rounds to whole numbers, found in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// 1 at place 16.
static UNIT: [f32; 2 * LANES] = {
    let mut table = [0.0; 2 * LANES];
    table[LANES] = 1.0;
    table
};
/// -1 from place 16 on.
static BEYOND: [f32; 2 * LANES] = {
    let mut table = [0.0; 2 * LANES];
    let mut place = LANES;
    while place < 2 * LANES {
        table[place] = -1.0;
        place += 1;
    }
    table
};

/// Sixteen values.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; loads and stores need
/// sixteen valid values at the pointer (`count` of them where there is a count), without alignment.
pub(super) trait Lanes: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// `count < 16` values; the other lanes are `rest`.
    unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count < 16` lanes.
    unsafe fn store_part(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self * factor + addend`
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger one; `other` if one is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller one; `other` if one is NaN.
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// Per lane `yes` where the sign of `self` is set, else `no`.
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self;
    /// `2^n` of `self = n + ROUND`, for `-127 <= n <= 127`; 0 at -127.
    unsafe fn power_of_two(self) -> Self;
    /// 1 where the draw of row and column is below `bound`, else 0; see
    /// [`RandomMask`](crate::RandomMask).
    unsafe fn drawn(column_keys: *const u32, row_key: u32, bound: u32) -> Self;
    /// The draws of row and column, whole numbers below 2^24.
    unsafe fn draws(column_keys: *const u32, row_key: u32) -> Self;
    /// `table[floor(self)]` for `0 <= self < len` of the table.
    unsafe fn lookup(self, table: *const f32) -> Self;

    /// 1 in one lane, 0 in the others; 0 in all from lane 16 on.
    #[inline(always)]
    unsafe fn unit(lane: usize) -> Self {
        unsafe { Self::load(UNIT.as_ptr().add(LANES - lane.min(LANES))) }
    }

    /// With another value in one lane.
    #[inline(always)]
    unsafe fn with(self, lane: usize, value: f32) -> Self {
        unsafe {
            let is_it = Self::splat(0.0).sub(Self::unit(lane));
            is_it.if_negative(Self::splat(value), self)
        }
    }

    /// With another value in the lanes from `count <= 16` on.
    #[inline(always)]
    unsafe fn filled_from(self, count: usize, value: f32) -> Self {
        unsafe {
            let is_beyond = Self::load(BEYOND.as_ptr().add(LANES - count));
            is_beyond.if_negative(Self::splat(value), self)
        }
    }

    /// Sum of the lanes.
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0_f32; LANES];
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut sums = [0.0; 4];
        for (lane, value) in lanes.into_iter().enumerate() {
            sums[lane % 4] += f64::from(value);
        }
        (sums[0] + sums[2]) + (sums[1] + sums[3])
    }

    /// Largest lane; NaN may be passed over.
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use super::{lanes_avx2::Avx2Lanes, lanes_avx512::Avx512Lanes};

/// Plain arrays that the compiler turns into whatever vectors the target has.
#[derive(Clone, Copy)]
pub(super) struct PortableLanes([f32; LANES]);

impl PortableLanes {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self.0;
        for (out, other) in out.iter_mut().zip(other.0) {
            *out = operation(*out, other);
        }
        Self(out)
    }
}

impl Lanes for PortableLanes {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(from.cast::<[f32; LANES]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self {
        let mut lanes = [rest; LANES];
        unsafe { lanes.as_mut_ptr().copy_from_nonoverlapping(from, count) };
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        unsafe { to.copy_from_nonoverlapping(self.0.as_ptr(), count) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut out = addend.0;
        for ((out, a), b) in out.iter_mut().zip(self.0).zip(factor.0) {
            // Without the instruction `f32::mul_add` is a slow function call.
            *out = if cfg!(target_arch = "aarch64") { a.mul_add(b, *out) } else { a * b + *out };
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self {
        let mut out = no.0;
        for ((out, sign), yes) in out.iter_mut().zip(self.0).zip(yes.0) {
            *out = if sign.is_sign_negative() { yes } else { *out };
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|value| f32::from_bits((value.to_bits() << 23).wrapping_add(127 << 23))))
    }
    #[inline(always)]
    unsafe fn drawn(column_keys: *const u32, row_key: u32, bound: u32) -> Self {
        let keys = unsafe { column_keys.cast::<[u32; LANES]>().read_unaligned() };
        let is_below = |key: u32| crate::random_mask::mix(key ^ row_key) >> 8 < bound;
        Self(keys.map(|key| if is_below(key) { 1.0 } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn draws(column_keys: *const u32, row_key: u32) -> Self {
        let keys = unsafe { column_keys.cast::<[u32; LANES]>().read_unaligned() };
        Self(keys.map(|key| (crate::random_mask::mix(key ^ row_key) >> 8) as f32))
    }
    #[inline(always)]
    unsafe fn lookup(self, table: *const f32) -> Self {
        Self(self.0.map(|place| unsafe { *table.add(place as usize) }))
    }
}
