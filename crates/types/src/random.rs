//! Random numbers that depend on nothing but their key.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a generator is used for: generators of different streams share no numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Order of the images in an epoch.
    Order,
    /// Augmentation of one image.
    Augment,
    /// Choice of a long-tailed subset.
    Subset,
    /// Contents of a synthetic set.
    Synthetic,
    /// Choice of anchors for the losses.
    Anchors,
    /// Choice of regions of interest for the losses.
    Rois,
    /// Choice of rows of other groups in Balanced Group Softmax.
    OtherRows,
    /// Choice of the images that are held out for validation.
    Validation,
    /// Draws of a meta sampler.
    MetaDraw,
    /// Boxes for the memory of features, and draws from it.
    FeatureMemory,
    /// Choice of the classes of a federated loss.
    FederatedClasses,
    /// Augmentation of a second view of an image.
    SecondView,
    /// Order of stored features.
    StoredFeatures,
}

/// ChaCha8 keyed by (seed, stream, epoch, index).
///
/// The numbers are the same on every machine, in every thread and in any order of use.
#[derive(Debug, Clone)]
pub struct KeyedRng(ChaCha8Rng);

impl KeyedRng {
    /// The generator of one key.
    pub fn new(seed: u64, stream: Stream, epoch: u64, index: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, stream as u64, epoch, index]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * f64::EPSILON / 2.0
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..n`; 0 for `n = 0`. The bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_the_numbers() {
        let draw = |seed, stream, epoch, index| KeyedRng::new(seed, stream, epoch, index).unit();
        let first = draw(1, Stream::Augment, 2, 3);
        assert_eq!(first, draw(1, Stream::Augment, 2, 3));
        assert_ne!(first, draw(2, Stream::Augment, 2, 3));
        assert_ne!(first, draw(1, Stream::Order, 2, 3));
        assert_ne!(first, draw(1, Stream::Augment, 3, 3));
        assert_ne!(first, draw(1, Stream::Augment, 2, 4));
    }

    /// First block of ChaCha8 with an all-zero key and nonce: 3e 00 ef 2f 89 5f 40 d6 in the
    /// test vectors of draft-strombergson-chacha-test-vectors-01.
    #[test]
    fn zero_key_is_the_published_vector() {
        let mut rng = KeyedRng::new(0, Stream::Order, 0, 0);
        assert_eq!(rng.0.next_u64(), 0xd640_5f89_2fef_003e);
    }

    #[test]
    fn below_is_uniform() {
        let mut rng = KeyedRng::new(7, Stream::Order, 0, 0);
        let mut seen = [0_u32; 5];
        (0..50_000).for_each(|_| seen[rng.below(5)] += 1);
        assert!(seen.iter().all(|&n| n.abs_diff(10_000) < 400), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn unit_has_its_moments() {
        let mut rng = KeyedRng::new(3, Stream::Order, 0, 0);
        let (mut mean, mut square, n) = (0.0, 0.0, 100_000);
        for _ in 0..n {
            let u = rng.unit();
            assert!((0.0..1.0).contains(&u));
            mean += u / f64::from(n);
            square += u * u / f64::from(n);
        }
        assert!((mean - 0.5).abs() < 0.005 && (square - 1.0 / 3.0).abs() < 0.005);
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut values: Vec<usize> = (0..100).collect();
        KeyedRng::new(1, Stream::Order, 0, 0).shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }
}
