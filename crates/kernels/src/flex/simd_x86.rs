//! Vector instructions of x86-64.
#![allow(unsafe_code, reason = "vector intrinsics")]

use std::arch::x86_64::*;

use super::simd::{MAX_LANES, Simd};

#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    if count < 16 { (1 << count) - 1 } else { __mmask16::MAX }
}

#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

impl Simd for Avx512 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_pair(low: *const f32, high: *const f32) -> Self {
        unsafe {
            let low = _mm512_castps256_ps512(_mm256_loadu_ps(low));
            let high = _mm256_castps_pd(_mm256_loadu_ps(high));
            Self(_mm512_castpd_ps(_mm512_insertf64x4(_mm512_castps_pd(low), high, 1)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        unsafe { Self(_mm512_maskz_loadu_ps(first_lanes(count), from)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), self.0) }
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
    unsafe fn relu(self) -> Self {
        unsafe { Self(_mm512_max_ps(_mm512_setzero_ps(), self.0)) } // NaN: the second
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self; MAX_LANES]) {
        unsafe {
            let mut pairs = [_mm512_setzero_ps(); 16];
            for i in 0..8 {
                let (a, b) = (block[2 * i].0, block[2 * i + 1].0);
                pairs[2 * i] = _mm512_unpacklo_ps(a, b);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(a, b);
            }
            // Vector `4 i + j` holds column `j` of every quarter of rows `4 i..4 i + 4`.
            let mut fours = [_mm512_setzero_ps(); 16];
            for i in 0..4 {
                for half in 0..2 {
                    let a = _mm512_castps_pd(pairs[4 * i + half]);
                    let b = _mm512_castps_pd(pairs[4 * i + 2 + half]);
                    fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for j in 0..4 {
                let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
                let (ab_even, ab_odd) =
                    (_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
                let (cd_even, cd_odd) =
                    (_mm512_shuffle_f32x4(c, d, 0x88), _mm512_shuffle_f32x4(c, d, 0xDD));
                block[j].0 = _mm512_shuffle_f32x4(ab_even, cd_even, 0x88);
                block[4 + j].0 = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88);
                block[8 + j].0 = _mm512_shuffle_f32x4(ab_even, cd_even, 0xDD);
                block[12 + j].0 = _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xDD);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum4(from: *const Self, to: *mut f32) {
        unsafe {
            let [a, b, c, d] = [(*from).0, (*from.add(1)).0, (*from.add(2)).0, (*from.add(3)).0];
            // Halves of a and b side by side, then quarters of all four.
            let ab =
                _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
            let cd =
                _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
            let abcd = _mm512_add_ps(
                _mm512_shuffle_f32x4(ab, cd, 0x88),
                _mm512_shuffle_f32x4(ab, cd, 0xDD),
            );
            let pairs = _mm512_add_ps(abcd, _mm512_permute_ps(abcd, 0b01_00_11_10));
            let sums = _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0b10_11_00_01));
            let every_fourth = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
            let packed = _mm512_permutexvar_ps(every_fourth, sums);
            _mm_storeu_ps(to, _mm512_castps512_ps128(packed));
        }
    }
}

#[inline(always)]
unsafe fn first_half_lanes(count: usize) -> __m256i {
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

impl Simd for Avx2 {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_pair(low: *const f32, high: *const f32) -> Self {
        unsafe { Self(_mm256_set_m128(_mm_loadu_ps(high), _mm_loadu_ps(low))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        unsafe { Self(_mm256_maskload_ps(from, first_half_lanes(count))) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        unsafe { _mm256_maskstore_ps(to, first_half_lanes(count), self.0) }
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
    unsafe fn relu(self) -> Self {
        unsafe { Self(_mm256_max_ps(_mm256_setzero_ps(), self.0)) } // NaN: the second
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self; MAX_LANES]) {
        unsafe {
            let mut pairs = [_mm256_setzero_ps(); 8];
            for i in 0..4 {
                let (a, b) = (block[2 * i].0, block[2 * i + 1].0);
                pairs[2 * i] = _mm256_unpacklo_ps(a, b);
                pairs[2 * i + 1] = _mm256_unpackhi_ps(a, b);
            }
            // Vector `4 i + j` holds column `j` of both halves of rows `4 i..4 i + 4`.
            let mut fours = [_mm256_setzero_ps(); 8];
            for i in 0..2 {
                for half in 0..2 {
                    let (a, b) = (pairs[4 * i + half], pairs[4 * i + 2 + half]);
                    fours[4 * i + 2 * half] = _mm256_shuffle_ps(a, b, 0x44);
                    fours[4 * i + 2 * half + 1] = _mm256_shuffle_ps(a, b, 0xEE);
                }
            }
            for j in 0..4 {
                block[j].0 = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20);
                block[4 + j].0 = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum4(from: *const Self, to: *mut f32) {
        unsafe {
            let [a, b, c, d] = [(*from).0, (*from.add(1)).0, (*from.add(2)).0, (*from.add(3)).0];
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
            _mm_storeu_ps(to, sums);
        }
    }
}
