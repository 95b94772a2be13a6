//! Values that we and the peer compute alike.

use rayon::prelude::*;

/// Value `index` of stream `seed`: uniform in `[0, 1)`, a multiple of `2^-24`.
pub(crate) fn noise(index: u32, seed: u32) -> f32 {
    // The finalizer of MurmurHash3.
    let mut x = index ^ seed.wrapping_mul(0x9e37_79b9);
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^= x >> 16;
    (x >> 8) as f32 / (1 << 24) as f32
}

/// `count` values of a stream, from `low` to below `high`.
pub(crate) fn values(count: usize, seed: u32, [low, high]: [f32; 2]) -> Vec<f32> {
    let value = |index: usize| low + (high - low) * noise(index as u32, seed);
    (0..count).into_par_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_computes_these_too() {
        // Printed by `noise` of peer/peer.py.
        let expected = [0.0, 0.317_598_82, 0.832_94];
        let found = [noise(0, 0), noise(1, 0), noise(12_345, 7)];
        assert_eq!(found, expected);
    }

    #[test]
    fn values_are_uniform() {
        let values = values(100_000, 3, [-1.0, 1.0]);
        let mean: f32 = values.iter().sum::<f32>() / 1e5;
        let square: f32 = values.iter().map(|v| v * v).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.01 && (square - 1.0 / 3.0).abs() < 0.01, "{mean} {square}");
    }
}
