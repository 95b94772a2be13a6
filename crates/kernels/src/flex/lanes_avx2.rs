//! Sixteen values at a time with AVX2, in two halves.
#![allow(unsafe_code, reason = "vector intrinsics")]

use std::arch::x86_64::*;

use super::lanes::{LANES, Lanes};

const HALF: usize = LANES / 2;

/// Needs AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::flex) struct Avx2Lanes(__m256, __m256);

/// All bits of the first `count` lanes of either half.
#[inline(always)]
unsafe fn first(count: usize) -> [__m256i; 2] {
    const MASK: [i32; 2 * HALF] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let [low, high] = [count.min(HALF), count.saturating_sub(HALF)];
    unsafe {
        let low = _mm256_loadu_si256(MASK.as_ptr().add(HALF - low).cast());
        [low, _mm256_loadu_si256(MASK.as_ptr().add(HALF - high).cast())]
    }
}

/// The values of the mask, `rest` elsewhere; nothing else is read.
#[inline(always)]
unsafe fn masked(from: *const f32, mask: __m256i, rest: __m256) -> __m256 {
    unsafe { _mm256_blendv_ps(rest, _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask)) }
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

/// Draws of 24 bits of eight columns.
#[inline(always)]
unsafe fn draw(column_keys: *const u32, row_key: u32) -> __m256i {
    unsafe {
        let keys = _mm256_loadu_si256(column_keys.cast());
        _mm256_srli_epi32(mix(_mm256_xor_si256(keys, _mm256_set1_epi32(row_key as i32))), 8)
    }
}

#[inline(always)]
unsafe fn power_of_two(value: __m256) -> __m256 {
    unsafe {
        let exponent = _mm256_slli_epi32(_mm256_castps_si256(value), 23);
        _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)))
    }
}

#[inline(always)]
unsafe fn halves_sum(value: __m256) -> __m256d {
    unsafe {
        let low = _mm256_cvtps_pd(_mm256_castps256_ps128(value));
        _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_extractf128_ps(value, 1)))
    }
}

impl Lanes for Avx2Lanes {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self {
        unsafe {
            let ([a, b], rest) = (first(count), _mm256_set1_ps(rest));
            Self(masked(from, a, rest), masked(from.wrapping_add(HALF), b, rest))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(HALF), self.1);
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        unsafe {
            let [a, b] = first(count);
            _mm256_maskstore_ps(to, a, self.0);
            _mm256_maskstore_ps(to.wrapping_add(HALF), b, self.1);
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe {
            let low = _mm256_fmadd_ps(self.0, factor.0, addend.0);
            Self(low, _mm256_fmadd_ps(self.1, factor.1, addend.1))
        }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }
    #[inline(always)]
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self {
        unsafe {
            let low = _mm256_blendv_ps(no.0, yes.0, self.0);
            Self(low, _mm256_blendv_ps(no.1, yes.1, self.1))
        }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe { Self(power_of_two(self.0), power_of_two(self.1)) }
    }
    #[inline(always)]
    unsafe fn drawn(column_keys: *const u32, row_key: u32, bound: u32) -> Self {
        unsafe {
            let (bound, one) = (_mm256_set1_epi32(bound as i32), _mm256_set1_ps(1.0));
            let low = _mm256_cmpgt_epi32(bound, draw(column_keys, row_key));
            let high = _mm256_cmpgt_epi32(bound, draw(column_keys.add(HALF), row_key));
            let low = _mm256_and_ps(_mm256_castsi256_ps(low), one);
            Self(low, _mm256_and_ps(_mm256_castsi256_ps(high), one))
        }
    }
    #[inline(always)]
    unsafe fn draws(column_keys: *const u32, row_key: u32) -> Self {
        unsafe {
            let low = _mm256_cvtepi32_ps(draw(column_keys, row_key));
            Self(low, _mm256_cvtepi32_ps(draw(column_keys.add(HALF), row_key)))
        }
    }
    #[inline(always)]
    unsafe fn lookup(self, table: *const f32) -> Self {
        unsafe {
            let low = _mm256_i32gather_ps::<4>(table, _mm256_cvttps_epi32(self.0));
            Self(low, _mm256_i32gather_ps::<4>(table, _mm256_cvttps_epi32(self.1)))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        unsafe {
            let sum = _mm256_add_pd(halves_sum(self.0), halves_sum(self.1));
            let sum = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
            _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)))
        }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        unsafe {
            let best = _mm256_max_ps(self.0, self.1);
            let best = _mm_max_ps(_mm256_castps256_ps128(best), _mm256_extractf128_ps(best, 1));
            let best = _mm_max_ps(best, _mm_movehl_ps(best, best));
            _mm_cvtss_f32(_mm_max_ss(best, _mm_movehdup_ps(best)))
        }
    }
}
