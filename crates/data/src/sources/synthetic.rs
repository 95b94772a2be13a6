//! The synthetic long-tailed set: always there, the same everywhere.

use std::fmt;

use longtail_types::ClassMap;
use serde::{Deserialize, Serialize};

use super::synthetic_image::{CLASS_NAMES, draw};
use crate::dataset::PixelStore;
use crate::error::check_positive;
use crate::{DataError, ImageDataset, LongTail};
use longtail_types::{KeyedRng, Stream};

/// Training or test images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

/// A long-tailed set of drawn shapes, in ten classes.
///
/// Five shapes, smooth or striped, of random size and place and a colour about their own, under
/// noise. The smooth shapes are the five frequent classes and the striped ones the five rare
/// classes, so that each rare class looks like a frequent one: a classifier that takes the class
/// distribution into account is right to prefer the frequent one in doubt, and fails on a balanced
/// test set.
///
/// Shapes, colours and noise were chosen so that the effect shows within a minute of training: the
/// set demonstrates the methods and is no evidence for them.
///
/// Training counts follow [`LongTail`]'s exponential rule; every class has `test_count` test images.
/// An image is a function of (seed, split, class, number), free of functions that differ between
/// machines in the last digit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Width and height. Default 32.
    pub image_size: usize,
    /// Training images of the most frequent class. Default 500.
    pub head_count: usize,
    /// Training images of the most frequent class over those of the rarest. Default 100.
    pub imbalance: f64,
    /// Test images per class. Default 100.
    pub test_count: usize,
    /// Standard deviation of the noise, as a share of the full range. Default 0.12.
    pub noise: f64,
    /// Key of the images. Default 0.
    pub seed: u64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            image_size: 32,
            head_count: 500,
            imbalance: 100.0,
            test_count: 100,
            noise: 0.12,
            seed: 0,
        }
    }
}

impl SyntheticConfig {
    /// Draws the set into memory.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn generate(&self, split: Split) -> Result<ImageDataset, DataError> {
        check_positive("synthetic.head_count", self.head_count)?;
        check_positive("synthetic.test_count", self.test_count)?;
        if !(8..=1024).contains(&self.image_size) {
            let expected = "in 8..=1024";
            return Err(DataError::setting("synthetic.image_size", expected, self.image_size));
        }
        if !(0.0..=1.0).contains(&self.noise) {
            return Err(DataError::setting("synthetic.noise", "in [0, 1]", self.noise));
        }
        let counts = match split {
            Split::Train => {
                LongTail::exponential(self.imbalance).counts(CLASS_NAMES.len(), self.head_count)?
            }
            Split::Test => vec![self.test_count; CLASS_NAMES.len()],
        };
        if counts.contains(&0) {
            let expected = "at most head_count, so that every class has an image";
            return Err(DataError::setting("synthetic.imbalance", expected, self.imbalance));
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (class, count) in counts.into_iter().enumerate() {
            for number in 0..count {
                let key = (2 * class + split as usize) as u64;
                let mut rng = KeyedRng::new(self.seed, Stream::Synthetic, key, number as u64);
                pixels.extend(draw(class, self.image_size, self.noise, &mut rng));
                labels.push(class);
            }
        }
        let name = format!("synthetic {split}");
        let store = PixelStore { name, width: self.image_size, height: self.image_size, pixels };
        ImageDataset::from_store(store, labels, ClassMap::from_names(CLASS_NAMES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a, 64 bits.
    fn hash(dataset: &ImageDataset) -> u64 {
        let images = (0..dataset.len()).map(|i| dataset.load(i).unwrap());
        images.fold(0xcbf2_9ce4_8422_2325, |hash, image| {
            let step = |h: u64, &b: &u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
            image.pixels().iter().fold(hash, step)
        })
    }

    #[test]
    fn counts_follow_the_rule() {
        let config = SyntheticConfig::default();
        let train = config.generate(Split::Train).unwrap();
        let expected = [500, 299, 179, 107, 64, 38, 23, 13, 8, 5];
        assert_eq!(train.class_counts().unwrap().image_counts(), expected);
        let test = config.generate(Split::Test).unwrap();
        assert_eq!(test.class_counts().unwrap().image_counts(), [100; 10]);
        assert_eq!(train.class_map(), test.class_map());
    }

    /// Results in documents refer to these very images: they never change.
    #[test]
    fn the_default_set_is_frozen() {
        let train = SyntheticConfig::default().generate(Split::Train).unwrap();
        assert_eq!(hash(&train), 9_952_971_172_094_396_562);
    }

    #[test]
    fn images_depend_on_the_key_alone() {
        let config = SyntheticConfig { head_count: 40, imbalance: 10.0, ..Default::default() };
        let train = config.generate(Split::Train).unwrap();
        assert_eq!(hash(&train), hash(&config.generate(Split::Train).unwrap()));
        assert_ne!(hash(&train), hash(&config.generate(Split::Test).unwrap()));
        let other = SyntheticConfig { seed: 1, ..config.clone() };
        assert_ne!(hash(&train), hash(&other.generate(Split::Train).unwrap()));
        // A larger set starts with the same images.
        let larger = SyntheticConfig { head_count: 80, ..config };
        let larger = larger.generate(Split::Train).unwrap();
        assert_eq!(train.load(39).unwrap(), larger.load(39).unwrap());
    }

    #[test]
    fn settings_are_checked() {
        let error =
            |config: SyntheticConfig| config.generate(Split::Train).unwrap_err().to_string();
        let default = SyntheticConfig::default;
        let message = error(SyntheticConfig { image_size: 4, ..default() });
        assert_eq!(message, "synthetic.image_size must be in 8..=1024, got 4");
        let message = error(SyntheticConfig { noise: -0.1, ..default() });
        assert_eq!(message, "synthetic.noise must be in [0, 1], got -0.1");
        let message = error(SyntheticConfig { imbalance: 1000.0, ..default() });
        let expected = "synthetic.imbalance must be at most head_count, \
                        so that every class has an image, got 1000";
        assert_eq!(message, expected);
    }
}
