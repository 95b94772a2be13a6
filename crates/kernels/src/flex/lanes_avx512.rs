//! Sixteen values at a time with AVX-512.
#![allow(unsafe_code, reason = "vector intrinsics")]

use std::arch::x86_64::*;

use super::lanes::Lanes;

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
