//! Vector instructions behind one small trait, and the choice among them at run time.
#![allow(unsafe_code, reason = "vector intrinsics")]

use std::sync::OnceLock;

/// Instruction set in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The best instruction set of this machine, or what `LONGTAIL_SIMD` (`avx2`, `portable`) limits
/// it to.
pub(super) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let limit = std::env::var("LONGTAIL_SIMD").unwrap_or_default();
        #[cfg(target_arch = "x86_64")]
        {
            if limit.is_empty() && is_x86_feature_detected!("avx512f") {
                return Isa::Avx512;
            }
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if limit != "portable" && has_avx2 {
                return Isa::Avx2;
            }
        }
        let _ = limit;
        Isa::Portable
    })
}

/// A vector of `LANES` values.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; loads and stores need `LANES`
/// valid values at the pointer (half as many at each of a pair), without alignment.
pub(super) trait Simd: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// Half of the lanes from each pointer.
    unsafe fn load_pair(low: *const f32, high: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + addend`
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Sums of the lanes of four vectors.
    unsafe fn sum4(from: *const Self, to: *mut f32);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(in crate::flex) struct Avx512(__m512);

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
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
        }
        #[inline(always)]
        unsafe fn sum4(from: *const Self, to: *mut f32) {
            unsafe {
                let [a, b, c, d] =
                    [(*from).0, (*from.add(1)).0, (*from.add(2)).0, (*from.add(3)).0];
                // Halves of a and b side by side, then quarters of all four.
                let ab = _mm512_add_ps(
                    _mm512_shuffle_f32x4(a, b, 0x44),
                    _mm512_shuffle_f32x4(a, b, 0xEE),
                );
                let cd = _mm512_add_ps(
                    _mm512_shuffle_f32x4(c, d, 0x44),
                    _mm512_shuffle_f32x4(c, d, 0xEE),
                );
                let abcd = _mm512_add_ps(
                    _mm512_shuffle_f32x4(ab, cd, 0x88),
                    _mm512_shuffle_f32x4(ab, cd, 0xDD),
                );
                let pairs = _mm512_add_ps(abcd, _mm512_permute_ps(abcd, 0b01_00_11_10));
                let sums = _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0b10_11_00_01));
                let every_fourth =
                    _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
                let packed = _mm512_permutexvar_ps(every_fourth, sums);
                _mm_storeu_ps(to, _mm512_castps512_ps128(packed));
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(in crate::flex) struct Avx2(__m256);

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
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
        }
        #[inline(always)]
        unsafe fn sum4(from: *const Self, to: *mut f32) {
            unsafe {
                let [a, b, c, d] =
                    [(*from).0, (*from.add(1)).0, (*from.add(2)).0, (*from.add(3)).0];
                let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
                let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
                _mm_storeu_ps(to, sums);
            }
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// Plain arrays that the compiler turns into whatever vectors the target has.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Simd for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(from.cast::<[f32; 8]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_pair(low: *const f32, high: *const f32) -> Self {
        unsafe {
            let [a, b, c, d] = low.cast::<[f32; 4]>().read_unaligned();
            let [e, f, g, h] = high.cast::<[f32; 4]>().read_unaligned();
            Self([a, b, c, d, e, f, g, h])
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
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
    unsafe fn sum4(from: *const Self, to: *mut f32) {
        for vector in 0..4 {
            unsafe {
                let [a, b, c, d, e, f, g, h] = (*from.add(vector)).0;
                *to.add(vector) = ((a + e) + (b + f)) + ((c + g) + (d + h));
            }
        }
    }
}

/// Compiles a function once per instruction set and calls the best one.
macro_rules! multiversion {
    ($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$attribute])*
        pub(super) fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $output)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($argument: $type),*) $(-> $output)? { body($($argument),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $output)? { body($($argument),*) }
            match crate::flex::simd::isa() {
                // SAFETY: the instruction set was detected.
                #[cfg(target_arch = "x86_64")]
                crate::flex::simd::Isa::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                crate::flex::simd::Isa::Avx2 => unsafe { avx2($($argument),*) },
                crate::flex::simd::Isa::Portable => body($($argument),*),
            }
        }
    };
}
pub(super) use multiversion;
