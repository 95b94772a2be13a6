//! `e^x` and `ln(1 + e^-|x|)` by polynomials, to about two units in the last place.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::lanes::{Lanes, ROUND};

/// `e^x` for `x <= 0` and NaN; 0 below -87.7, where `f32` would lose digits.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; the polynomial in `r` is off by at most 1e-8.
///
/// # Safety
/// The instruction set of `S` must be there.
#[inline(always)]
pub(super) unsafe fn exp<S: Lanes>(x: S) -> S {
    unsafe {
        let x = S::splat(-88.0).max(x); // n = -127 there
        let rounded = x.mul_add(S::splat(std::f32::consts::LOG2_E), S::splat(ROUND));
        let n = rounded.sub(S::splat(ROUND));
        // ln 2 in two parts, the first with few digits.
        let r = n.mul_add(S::splat(-0.693_359_4), x);
        let r = n.mul_add(S::splat(2.121_944_4e-4), r);
        let tail = S::splat(1.393_364_4e-3);
        let tail = tail.mul_add(r, S::splat(8.363_175e-3));
        let tail = tail.mul_add(r, S::splat(4.166_646_5e-2));
        let tail = tail.mul_add(r, S::splat(1.666_657_7e-1));
        let tail = tail.mul_add(r, S::splat(0.5));
        let power = tail.mul_add(r.mul(r), r).add(S::splat(1.0));
        power.mul(rounded.power_of_two())
    }
}

/// What a sigmoid and its logarithm are made of.
#[derive(Clone, Copy)]
pub(super) struct Logistic<S> {
    /// `1 / (1 + e^-|x|)`, the larger of `sigmoid(x)` and `sigmoid(-x)`.
    pub(super) large: S,
    /// `e^-|x| / (1 + e^-|x|)`, the smaller one.
    pub(super) small: S,
    /// `ln(1 + e^-|x|)`
    pub(super) log: S,
}

/// # Safety
/// The instruction set of `S` must be there.
#[inline(always)]
pub(super) unsafe fn logistic<S: Lanes>(x: S) -> Logistic<S> {
    unsafe {
        let zero = S::splat(0.0);
        let e = exp(zero.sub(x.abs()));
        // One division for 1 / (1 + e) and for s = e / (2 + e).
        let one_plus = e.add(S::splat(1.0));
        let two_plus = e.add(S::splat(2.0));
        let inverse = S::splat(1.0).div(one_plus.mul(two_plus));
        let large = two_plus.mul(inverse);
        let s = e.mul(one_plus.mul(inverse));
        // ln(1 + e) = 2 atanh(s), where s <= 1/3; off by at most 1.6e-8 of itself.
        let square = s.mul(s);
        let tail = S::splat(2.686_755e-1);
        let tail = tail.mul_add(square, S::splat(2.823_395_6e-1));
        let tail = tail.mul_add(square, S::splat(4.000_767e-1));
        let tail = tail.mul_add(square, S::splat(6.666_664e-1));
        let log = tail.mul_add(square, S::splat(2.0)).mul(s);
        Logistic { large, small: e.mul(large), log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::lanes::{LANES, PortableLanes};

    fn arguments() -> impl Iterator<Item = f32> {
        (-4000..4000).map(|i| i as f32 * 0.0218 + 1e-4)
    }

    /// Largest error relative to the expected value, over all arguments.
    fn errors<S: Lanes>() -> [f64; 4] {
        let mut worst = [0.0_f64; 4];
        for x in arguments() {
            let mut lanes = [[0.0_f32; LANES]; 4];
            // SAFETY: the caller has checked the instruction set.
            unsafe {
                let Logistic { large, small, log } = logistic(S::splat(x));
                let parts = [exp(S::splat(-x.abs())), large, small, log];
                parts
                    .into_iter()
                    .zip(&mut lanes)
                    .for_each(|(part, to)| part.store(to.as_mut_ptr()));
            }
            let e = (-f64::from(x).abs()).exp();
            let expected = [e, 1.0 / (1.0 + e), e / (1.0 + e), e.ln_1p()];
            for ((worst, lanes), expected) in worst.iter_mut().zip(lanes).zip(expected) {
                for lane in lanes {
                    *worst = worst.max((f64::from(lane) - expected).abs() / expected);
                }
            }
        }
        worst
    }

    /// At the largest arguments, beyond them, and where there is no answer.
    fn limits<S: Lanes>() {
        for (x, large, small, log) in [
            (0.0, 0.5, 0.5, 2.0_f32.ln()),
            (-1e4, 1.0, 0.0, 0.0),
            (f32::INFINITY, 1.0, 0.0, 0.0),
            (f32::MAX, 1.0, 0.0, 0.0),
        ] {
            let mut lanes = [[0.0_f32; LANES]; 3];
            // SAFETY: the caller has checked the instruction set.
            unsafe {
                let result = logistic(S::splat(x));
                [result.large, result.small, result.log]
                    .into_iter()
                    .zip(&mut lanes)
                    .for_each(|(part, to)| part.store(to.as_mut_ptr()));
            }
            assert_eq!(lanes.map(|lanes| lanes[3]), [large, small, log], "{x}");
        }
        let mut lanes = [0.0_f32; LANES];
        // SAFETY: as above.
        unsafe { logistic(S::splat(f32::NAN)).log.store(lanes.as_mut_ptr()) };
        assert!(lanes.iter().all(|lane| lane.is_nan()));
    }

    #[test]
    fn portable_arithmetic_is_accurate() {
        let errors = errors::<PortableLanes>();
        assert!(errors.iter().all(|&error| error < 5e-7), "{errors:?}");
        limits::<PortableLanes>();
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avx2_arithmetic_is_accurate() {
        if crate::flex::simd::isa() == crate::flex::simd::Isa::Portable {
            return;
        }
        let errors = errors::<crate::flex::lanes::Avx2Lanes>();
        assert!(errors.iter().all(|&error| error < 5e-7), "{errors:?}");
        limits::<crate::flex::lanes::Avx2Lanes>();
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn avx512_arithmetic_is_accurate() {
        if crate::flex::simd::isa() != crate::flex::simd::Isa::Avx512 {
            return;
        }
        let errors = errors::<crate::flex::lanes::Avx512Lanes>();
        assert!(errors.iter().all(|&error| error < 5e-7), "{errors:?}");
        limits::<crate::flex::lanes::Avx512Lanes>();
    }
}
