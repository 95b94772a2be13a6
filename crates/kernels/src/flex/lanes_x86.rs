//! Sixteen values at a time with AVX2, in two halves, and with AVX-512.
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

/// Needs AVX-512F.
#[derive(Clone, Copy)]
pub(in crate::flex) struct Avx512Lanes(__m512);

/// The first `count < 16` lanes.
#[inline(always)]
fn first_bits(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

/// Draws of 24 bits of sixteen columns.
#[inline(always)]
unsafe fn draw_16(column_keys: *const u32, row_key: u32) -> __m512i {
    unsafe {
        let word = _mm512_loadu_si512(column_keys.cast());
        let word = _mm512_xor_si512(word, _mm512_set1_epi32(row_key as i32));
        let word = _mm512_xor_si512(word, _mm512_srli_epi32(word, 16));
        let word = _mm512_mullo_epi32(word, _mm512_set1_epi32(0x7feb_352d));
        let word = _mm512_xor_si512(word, _mm512_srli_epi32(word, 15));
        let word = _mm512_mullo_epi32(word, _mm512_set1_epi32(0x846c_a68b_u32 as i32));
        _mm512_srli_epi32(_mm512_xor_si512(word, _mm512_srli_epi32(word, 16)), 8)
    }
}

impl Lanes for Avx512Lanes {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize, rest: f32) -> Self {
        unsafe { Self(_mm512_mask_loadu_ps(_mm512_set1_ps(rest), first_bits(count), from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first_bits(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn if_negative(self, yes: Self, no: Self) -> Self {
        unsafe {
            let sign = _mm512_set1_epi32(i32::MIN);
            let is_negative = _mm512_test_epi32_mask(_mm512_castps_si512(self.0), sign);
            Self(_mm512_mask_blend_ps(is_negative, no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        unsafe {
            let exponent = _mm512_slli_epi32(_mm512_castps_si512(self.0), 23);
            Self(_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23))))
        }
    }
    #[inline(always)]
    unsafe fn drawn(column_keys: *const u32, row_key: u32, bound: u32) -> Self {
        unsafe {
            let bound = _mm512_set1_epi32(bound as i32);
            let is_below = _mm512_cmpgt_epi32_mask(bound, draw_16(column_keys, row_key));
            Self(_mm512_maskz_mov_ps(is_below, _mm512_set1_ps(1.0)))
        }
    }
    #[inline(always)]
    unsafe fn draws(column_keys: *const u32, row_key: u32) -> Self {
        unsafe { Self(_mm512_cvtepi32_ps(draw_16(column_keys, row_key))) }
    }
    #[inline(always)]
    unsafe fn lookup(self, table: *const f32) -> Self {
        unsafe { Self(_mm512_i32gather_ps::<4>(_mm512_cvttps_epi32(self.0), table)) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        unsafe {
            let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0));
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(self.0));
            let sum = _mm512_add_pd(low, _mm512_cvtps_pd(_mm256_castpd_ps(high)));
            _mm512_reduce_add_pd(sum)
        }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}
