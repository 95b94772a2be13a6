//! The natural logarithm without a call, so that vectors stay in their registers.

use std::f64::consts::{LN_2, SQRT_2};

/// Bits of a fraction of `f64`.
const FRACTION: u32 = 52;
/// Exponent of 1.
const BIAS: u64 = 1023;

/// `ln x` of positive normal numbers to about `1e-11` of itself; NaN of NaN and infinity.
///
/// `x = 2^n m` with `m` from `sqrt(1/2)` to `sqrt(2)`, and `ln m = 2 atanh(s)`, `s = (m - 1) / (m + 1)`.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let least = (0.5 * SQRT_2).to_bits() & ((1 << FRACTION) - 1);
    // One more where the fraction is above that of sqrt(2).
    let exponent = bits.wrapping_add((1 << FRACTION) - least) >> FRACTION;
    let m = f64::from_bits(bits.wrapping_sub(exponent.wrapping_sub(BIAS) << FRACTION));
    // A whole number below 2^52 by its bits: some instruction sets cannot convert it.
    let n = f64::from_bits((BIAS + 52) << FRACTION | exponent) - (4_503_599_627_370_496.0 + 1023.0);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let tail = 1.0 / 13.0 * square + 1.0 / 11.0;
    let tail = tail * square + 1.0 / 9.0;
    let tail = tail * square + 1.0 / 7.0;
    let tail = tail * square + 1.0 / 5.0;
    let tail = tail * square + 1.0 / 3.0;
    let of_m = 2.0 * s * (tail * square + 1.0);
    n * LN_2 + of_m + 0.0 * x
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn it_is_accurate() {
        for i in -3000..3000 {
            let x = (f64::from(i) * 0.01).exp();
            let expected = x.ln();
            assert!((ln(x) - expected).abs() <= 1e-10 * expected.abs(), "{x}: {}", ln(x));
        }
        assert_eq!(ln(1.0), 0.0);
        let near = 1.0 + 1e-9;
        assert!((ln(near) / near.ln() - 1.0).abs() < 1e-10);
        assert!(ln(f64::NAN).is_nan());
        let far = 1e30;
        assert!((ln(far) / far.ln() - 1.0).abs() < 1e-10);
    }
}
