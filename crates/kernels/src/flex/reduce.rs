//! Sums over contiguous values, vectorized, in a fixed order.
#![allow(unsafe_code, reason = "one version per instruction set")]

use super::simd::multiversion;

/// Independent partial sums; a multiple of every vector length.
const LANES: usize = 32;

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() as f32
}

multiversion! {
    /// Sum of at most some thousand values.
    fn sum(values: &[f32]) -> f32 {
        let mut lanes = [0.0; LANES];
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value;
        }
        fold(lanes)
    }
}

multiversion! {
    /// Sum of squared distances from `center`.
    fn sum_of_squares(values: &[f32], center: f32) -> f32 {
        let mut lanes = [0.0; LANES];
        let (blocks, rest) = values.as_chunks::<LANES>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                let distance = value - center;
                *lane += distance * distance;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            let distance = value - center;
            *lane += distance * distance;
        }
        fold(lanes)
    }
}

multiversion! {
    /// Sum of `a` and sum of `a * (b - center)`.
    fn sum_and_product(a: &[f32], b: &[f32], center: f32) -> (f32, f32) {
        let mut sums = [0.0; LANES];
        let mut products = [0.0; LANES];
        let (a_blocks, a_rest) = a.as_chunks::<LANES>();
        let (b_blocks, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a_blocks.iter().zip(b_blocks) {
            for lane in 0..LANES {
                sums[lane] += a[lane];
                products[lane] += a[lane] * (b[lane] - center);
            }
        }
        for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
            sums[lane] += a;
            products[lane] += a * (b - center);
        }
        (fold(sums), fold(products))
    }
}
