//! Eight values at a time, with the arithmetic that the losses need.
#![allow(unsafe_code, reason = "vector intrinsics")]

/// Values of a vector.
pub(super) const LANES: usize = 8;
/// Adding it to a float of moderate size rounds to whole numbers, found in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// Eight values.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; loads and stores need eight
/// valid values at the pointer (`count` of them where there is a count), without alignment.
pub(super) trait Lanes: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// `count < 8` values; the other lanes are `rest`.
    unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count < 8` lanes.
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

    /// Sum of the lanes.
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        let mut lanes = [0.0_f32; LANES];
        unsafe { self.store(lanes.as_mut_ptr()) };
        let [a, b, c, d, e, f, g, h] = lanes.map(f64::from);
        ((a + e) + (b + f)) + ((c + g) + (d + h))
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
mod x86 {
    use super::{LANES, Lanes};
    use std::arch::x86_64::*;

    /// Needs AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in crate::flex) struct Avx2Lanes(__m256);

    /// All bits of the first `count` lanes.
    #[inline(always)]
    unsafe fn first(count: usize) -> __m256i {
        const MASK: [i32; 2 * LANES] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        unsafe { _mm256_loadu_si256(MASK.as_ptr().add(LANES - count).cast()) }
    }

    #[inline(always)]
    unsafe fn mix(word: __m256i) -> __m256i {
        unsafe {
            let word = _mm256_xor_si256(word, _mm256_srli_epi32(word, 16));
            let word = _mm256_mullo_epi32(word, _mm256_set1_epi32(0x7feb_352d));
            let word = _mm256_xor_si256(word, _mm256_srli_epi32(word, 15));
            let word = _mm256_mullo_epi32(word, _mm256_set1_epi32(0x846c_a68b_u32 as i32));
            _mm256_xor_si256(word, _mm256_srli_epi32(word, 16))
        }
    }

    impl Lanes for Avx2Lanes {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(from)) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self {
            unsafe {
                let mask = first(count);
                let values = _mm256_maskload_ps(from, mask);
                Self(_mm256_blendv_ps(_mm256_set1_ps(rest), values, _mm256_castsi256_ps(mask)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn store_part(self, to: *mut f32, count: usize) {
            unsafe { _mm256_maskstore_ps(to, first(count), self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            unsafe { Self(_mm256_div_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn abs(self) -> Self {
            unsafe { Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)) }
        }
        #[inline(always)]
        unsafe fn if_negative(self, yes: Self, no: Self) -> Self {
            unsafe { Self(_mm256_blendv_ps(no.0, yes.0, self.0)) }
        }
        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            unsafe {
                let exponent = _mm256_slli_epi32(_mm256_castps_si256(self.0), 23);
                let bits = _mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23));
                Self(_mm256_castsi256_ps(bits))
            }
        }
        #[inline(always)]
        unsafe fn drawn(column_keys: *const u32, row_key: u32, bound: u32) -> Self {
            unsafe {
                let keys = _mm256_loadu_si256(column_keys.cast());
                let draw = mix(_mm256_xor_si256(keys, _mm256_set1_epi32(row_key as i32)));
                let draw = _mm256_srli_epi32(draw, 8);
                let is_below = _mm256_cmpgt_epi32(_mm256_set1_epi32(bound as i32), draw);
                Self(_mm256_and_ps(_mm256_castsi256_ps(is_below), _mm256_set1_ps(1.0)))
            }
        }
        #[inline(always)]
        unsafe fn draws(column_keys: *const u32, row_key: u32) -> Self {
            unsafe {
                let keys = _mm256_loadu_si256(column_keys.cast());
                let draw = mix(_mm256_xor_si256(keys, _mm256_set1_epi32(row_key as i32)));
                Self(_mm256_cvtepi32_ps(_mm256_srli_epi32(draw, 8)))
            }
        }
        #[inline(always)]
        unsafe fn lookup(self, table: *const f32) -> Self {
            unsafe { Self(_mm256_i32gather_ps::<4>(table, _mm256_cvttps_epi32(self.0))) }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::Avx2Lanes;

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
