//! Long-tailed subsets of balanced sets, as in CIFAR-10-LT and CIFAR-100-LT.

use serde::{Deserialize, Serialize};

use crate::{DataError, ImageDataset};
use longtail_types::{KeyedRng, Stream};

/// Shape of the class distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongTailProfile {
    /// `n_j = floor(n_max mu^(j / (C - 1)))`.
    #[default]
    Exponential,
    /// The first half of the classes has `n_max` images, the rest `floor(n_max mu)`.
    Step,
}

/// Which images of a class are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongTailChoice {
    /// The first ones in the order of the set.
    #[default]
    First,
    /// The first ones of a seeded shuffle of each class.
    Shuffled,
}

/// How many images of each class to keep; class order is label order, so class 0 is the head.
///
/// Rule of Cui et al., CVPR 2019, <https://arxiv.org/abs/1901.05555>, and Cao et al., NeurIPS
/// 2019, <https://arxiv.org/abs/1906.07413>: `mu = 1 / imbalance`, rounded down in f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongTail {
    /// Images of the largest class over images of the smallest. 100 is the usual setting.
    pub imbalance: f64,
    /// Shape of the distribution.
    #[serde(default)]
    pub profile: LongTailProfile,
    /// Which images are kept.
    #[serde(default)]
    pub choice: LongTailChoice,
    /// Images of the largest class; by default as many as the largest class has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<usize>,
}

impl LongTail {
    /// The exponential profile with the first images of each class.
    pub fn exponential(imbalance: f64) -> Self {
        let (profile, choice) = (LongTailProfile::Exponential, LongTailChoice::First);
        Self { imbalance, profile, choice, max_count: None }
    }

    /// Images per class, for `max_count` images in the largest class.
    ///
    /// # Errors
    /// If the imbalance is not a number of at least 1.
    pub fn counts(&self, num_classes: usize, max_count: usize) -> Result<Vec<usize>, DataError> {
        if !(self.imbalance >= 1.0 && self.imbalance.is_finite()) {
            return Err(DataError::setting("imbalance", "a number of at least 1", self.imbalance));
        }
        let (mu, max) = (1.0 / self.imbalance, max_count as f64);
        let count = |class: usize| match self.profile {
            LongTailProfile::Exponential if num_classes < 2 => max_count,
            LongTailProfile::Exponential => {
                (max * mu.powf(class as f64 / (num_classes - 1) as f64)) as usize
            }
            LongTailProfile::Step if class < num_classes / 2 => max_count,
            LongTailProfile::Step => (max * mu) as usize,
        };
        Ok((0..num_classes).map(count).collect())
    }
}

impl ImageDataset {
    /// The long-tailed subset: the images stay in the order of this set. `seed` matters for
    /// [`LongTailChoice::Shuffled`] alone; keep it fixed over the stages of one experiment.
    ///
    /// # Errors
    /// If the rule asks for more images than a class has, or for none at all.
    pub fn long_tailed(&self, rule: &LongTail, seed: u64) -> Result<Self, DataError> {
        let classes = self.indices_by_class();
        let largest = classes.iter().map(Vec::len).max().unwrap_or(0);
        let counts = rule.counts(classes.len(), rule.max_count.unwrap_or(largest))?;
        let mut kept = Vec::new();
        for (class, (mut indices, wanted)) in classes.into_iter().zip(counts).enumerate() {
            let available = indices.len();
            let name = || self.class_map().name(class).unwrap_or_default().to_owned();
            if wanted > available {
                return Err(DataError::NotEnoughImages { name: name(), wanted, available });
            }
            if wanted == 0 {
                let value = format!("{}, which leaves none of {:?}", rule.imbalance, name());
                return Err(DataError::setting("imbalance", "small enough for the set", value));
            }
            if rule.choice == LongTailChoice::Shuffled {
                KeyedRng::new(seed, Stream::Subset, 0, class as u64).shuffle(&mut indices);
            }
            kept.extend_from_slice(&indices[..wanted]);
        }
        kept.sort_unstable();
        self.subset(&kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::{ClassMap, ShotGroup, ShotThresholds};

    fn set(num_classes: usize, per_class: usize) -> ImageDataset {
        let names = (0..num_classes).map(|class| format!("class {class}"));
        let labels = (0..num_classes).flat_map(|class| std::iter::repeat_n(class, per_class));
        let files = labels.enumerate().map(|(i, label)| (format!("{i}.jpg").into(), label));
        ImageDataset::from_files(files, ClassMap::from_names(names).unwrap()).unwrap()
    }

    /// Totals of the published CIFAR-10-LT and CIFAR-100-LT sets.
    #[test]
    fn totals_are_the_published_ones() {
        let cifar10 =
            [(10.0, 20431, 500), (20.0, 17023, 250), (50.0, 13996, 100), (100.0, 12406, 50)];
        for (imbalance, total, last) in cifar10.into_iter().chain([(200.0, 11203, 25)]) {
            let counts = LongTail::exponential(imbalance).counts(10, 5000).unwrap();
            assert_eq!((counts.iter().sum(), counts[9]), (total, last), "{imbalance}");
        }
        let cifar100 = [(10.0, 19573, 50), (20.0, 15907, 25), (50.0, 12608, 10), (100.0, 10847, 5)];
        for (imbalance, total, last) in cifar100.into_iter().chain([(200.0, 9502, 2)]) {
            let counts = LongTail::exponential(imbalance).counts(100, 500).unwrap();
            assert_eq!((counts.iter().sum(), counts[99]), (total, last), "{imbalance}");
        }
        let expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50];
        assert_eq!(LongTail::exponential(100.0).counts(10, 5000).unwrap(), expected);
    }

    /// Many/medium/few classes of CIFAR-100-LT as published.
    #[test]
    fn shot_groups_are_the_published_ones() {
        let groups = [(100.0, [35, 35, 30]), (50.0, [41, 41, 18]), (200.0, [30, 31, 39])];
        for (imbalance, expected) in groups.into_iter().chain([(10.0, [69, 31, 0])]) {
            let counts = LongTail::exponential(imbalance).counts(100, 500).unwrap();
            let thresholds = ShotThresholds::default();
            let size =
                |group| counts.iter().filter(|&&n| thresholds.group(n as u64) == group).count();
            let sizes = [ShotGroup::Many, ShotGroup::Medium, ShotGroup::Few].map(size);
            assert_eq!(sizes, expected, "{imbalance}");
        }
    }

    #[test]
    fn step_profile_has_two_levels() {
        let rule = LongTail { profile: LongTailProfile::Step, ..LongTail::exponential(100.0) };
        let counts = rule.counts(10, 5000).unwrap();
        assert_eq!(counts, [5000, 5000, 5000, 5000, 5000, 50, 50, 50, 50, 50]);
    }

    #[test]
    fn the_first_images_are_kept() {
        let subset = set(3, 100).long_tailed(&LongTail::exponential(100.0), 0).unwrap();
        assert_eq!(subset.class_counts().unwrap().image_counts(), [100, 10, 1]);
        assert_eq!(subset.path(100).unwrap().to_str(), Some("100.jpg"));
        assert_eq!(subset.path(110).unwrap().to_str(), Some("200.jpg"));
    }

    #[test]
    fn the_shuffle_depends_on_the_seed_alone() {
        let rule = LongTail { choice: LongTailChoice::Shuffled, ..LongTail::exponential(100.0) };
        let paths = |seed| -> Vec<_> {
            let subset = set(3, 100).long_tailed(&rule, seed).unwrap();
            (100..111).map(|i| subset.item_name(i)).collect()
        };
        assert_eq!(paths(1), paths(1));
        assert_ne!(paths(1), paths(2));
    }

    #[test]
    fn impossible_rules_are_refused() {
        let error = |rule: LongTail| set(3, 10).long_tailed(&rule, 0).unwrap_err().to_string();
        let rule = LongTail::exponential(10.0);
        let expected = "class \"class 0\" has 10 images, but the long-tailed rule asks for 20";
        assert_eq!(error(LongTail { max_count: Some(20), ..rule }), expected);
        let expected = "imbalance must be a number of at least 1, got 0.5";
        assert_eq!(error(LongTail { imbalance: 0.5, ..rule }), expected);
        assert!(error(LongTail { imbalance: f64::NAN, ..rule }).contains("got NaN"));
        let expected = "imbalance must be small enough for the set, \
                        got 100, which leaves none of \"class 2\"";
        assert_eq!(error(LongTail::exponential(100.0)), expected);
    }
}
