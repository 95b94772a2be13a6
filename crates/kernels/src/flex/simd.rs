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

/// Asks for the cache line at `address`, which may be any.
#[inline(always)]
pub(super) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and every such processor has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Most lanes of any instruction set.
pub(super) const MAX_LANES: usize = 16;

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
    /// The first `count` lanes, zeros in the others; nothing else is read.
    unsafe fn load_part(from: *const f32, count: usize) -> Self;
    /// Writes the first `count` lanes and nothing else.
    unsafe fn store_part(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `max(self, 0)`, keeping NaN.
    unsafe fn relu(self) -> Self;
    /// `self * factor + addend`
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Lane `j` of vector `i` to lane `i` of vector `j`, among the first `LANES` vectors.
    unsafe fn transpose(block: &mut [Self; MAX_LANES]);
    /// Sums of the lanes of four vectors.
    unsafe fn sum4(from: *const Self, to: *mut f32);
}

#[cfg(target_arch = "x86_64")]
pub(super) use super::simd_x86::{Avx2, Avx512};

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
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut out = [0.0; 8];
        for (lane, out) in out.iter_mut().enumerate().take(count) {
            *out = unsafe { *from.add(lane) };
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        for (lane, value) in self.0.into_iter().enumerate().take(count) {
            unsafe { *to.add(lane) = value };
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut out = self.0;
        for (out, other) in out.iter_mut().zip(other.0) {
            *out += other;
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        let mut out = self.0;
        for (out, other) in out.iter_mut().zip(other.0) {
            *out -= other;
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        let mut out = self.0;
        for out in &mut out {
            *out = if *out < 0.0 { 0.0 } else { *out };
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn transpose(block: &mut [Self; MAX_LANES]) {
        for i in 0..8 {
            for j in 0..i {
                let (a, b) = (block[i].0[j], block[j].0[i]);
                (block[i].0[j], block[j].0[i]) = (b, a);
            }
        }
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

/// An unsafe function that runs the best version of `$body`, which is generic over [`Simd`].
macro_rules! dispatch {
    ($(#[$attribute:meta])* $visibility:vis unsafe fn $name:ident($argument:ident: $type:ty) = $body:ident) => {
        $(#[$attribute])*
        $visibility unsafe fn $name($argument: $type) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512($argument: $type) {
                unsafe { $body::<crate::flex::simd::Avx512>($argument) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($argument: $type) {
                unsafe { $body::<crate::flex::simd::Avx2>($argument) }
            }
            // SAFETY: by the caller, and the instruction set was detected.
            unsafe {
                match crate::flex::simd::isa() {
                    #[cfg(target_arch = "x86_64")]
                    crate::flex::simd::Isa::Avx512 => avx512($argument),
                    #[cfg(target_arch = "x86_64")]
                    crate::flex::simd::Isa::Avx2 => avx2($argument),
                    crate::flex::simd::Isa::Portable => {
                        $body::<crate::flex::simd::Portable>($argument);
                    }
                }
            }
        }
    };
}
pub(super) use dispatch;

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
