//! Which classes are tail.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ClassCounts, CountsError, FrequencyGroup};

/// A rule that splits the classes into head and tail by their training images.
///
/// Equalization Loss states its rule as a frequency, `f_j < lambda`. On its own data set the
/// boundary is an integer (100 images), which rounding can push either way; prefer
/// [`ImageCountAtMost`](Self::ImageCountAtMost).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailRule {
    /// Tail: in at most this many images.
    ImageCountAtMost(u64),
    /// Tail: in less than this fraction of the annotated images, strictly. A class in exactly
    /// `lambda * num_images` images is not tail, however the product rounds.
    ImageFrequencyBelow(f64),
    /// Tail: the classes with the fewest images, this fraction of all classes, rounded down. Ties
    /// at the boundary stay head.
    RarestFraction(f64),
    /// Tail: LVIS's rare classes (at most 10 images).
    LvisRare,
    /// Tail: LVIS's rare and common classes (at most 100 images).
    LvisRareAndCommon,
}

impl TailRule {
    /// Marks the tail classes.
    ///
    /// # Errors
    /// If a fraction is outside `[0, 1]`, or the rule selects no class or every class: a loss would
    /// silently become its baseline, or nothing would be left to learn from.
    pub fn tail_classes(&self, counts: &ClassCounts) -> Result<Vec<bool>, CountsError> {
        let images = counts.image_counts();
        let is_tail: Vec<bool> = match *self {
            Self::ImageCountAtMost(most) => images.iter().map(|&count| count <= most).collect(),
            Self::ImageFrequencyBelow(lambda) => {
                let bound = frequency_bound(lambda, counts.num_images())?;
                images.iter().map(|&count| count < bound).collect()
            }
            Self::RarestFraction(fraction) => {
                check_fraction("the rarest fraction of classes", fraction)?;
                let mut sorted = images.to_vec();
                sorted.sort_unstable();
                let chosen = (fraction * images.len() as f64) as usize;
                let bound = sorted.get(chosen).copied().unwrap_or(u64::MAX);
                images.iter().map(|&count| count < bound).collect()
            }
            Self::LvisRare => {
                images.iter().map(|&n| FrequencyGroup::of(n) == FrequencyGroup::Rare).collect()
            }
            Self::LvisRareAndCommon => {
                images.iter().map(|&n| FrequencyGroup::of(n) != FrequencyGroup::Frequent).collect()
            }
        };
        let num_classes = images.len();
        let min = images.iter().copied().min().unwrap_or_default();
        let max = images.iter().copied().max().unwrap_or_default();
        let rule = || self.to_string();
        if !is_tail.contains(&true) {
            return Err(CountsError::NoTailClass { rule: rule(), num_classes, min, max });
        }
        if !is_tail.contains(&false) {
            return Err(CountsError::OnlyTailClasses { rule: rule(), num_classes, min, max });
        }
        Ok(is_tail)
    }
}

impl fmt::Display for TailRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageCountAtMost(most) => write!(f, "image count <= {most}"),
            Self::ImageFrequencyBelow(lambda) => write!(f, "image frequency < {lambda}"),
            Self::RarestFraction(fraction) => write!(f, "the rarest {fraction} of the classes"),
            Self::LvisRare => f.write_str("LVIS rare (image count <= 10)"),
            Self::LvisRareAndCommon => f.write_str("LVIS rare or common (image count <= 100)"),
        }
    }
}

/// Smallest image count that is not below `lambda`; `lambda * num_images` is rounded to the integer
/// it stands for when it is one within rounding.
fn frequency_bound(lambda: f64, num_images: u64) -> Result<u64, CountsError> {
    check_fraction("lambda", lambda)?;
    let product = lambda * num_images as f64;
    let nearest = product.round();
    let is_integer = (product - nearest).abs() <= 4.0 * f64::EPSILON * product;
    Ok(if is_integer { nearest } else { product.ceil() } as u64)
}

fn check_fraction(name: &'static str, value: f64) -> Result<(), CountsError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(CountsError::NotAFraction { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(images: &[u64], num_images: u64) -> ClassCounts {
        ClassCounts::new(images.to_vec(), images.to_vec(), num_images).unwrap()
    }

    #[test]
    fn boundaries_compare_integers() {
        // 0.05 * 1200 and 0.07 * 100 are integers that f64 products can miss.
        let lvis = counts(&[59, 60, 61], 1200);
        let tail = TailRule::ImageFrequencyBelow(0.05).tail_classes(&lvis).unwrap();
        assert_eq!(tail, [true, false, false]);
        let small = counts(&[6, 7, 8], 100);
        let tail = TailRule::ImageFrequencyBelow(0.07).tail_classes(&small).unwrap();
        assert_eq!(tail, [true, false, false]);
        let tail = TailRule::ImageCountAtMost(7).tail_classes(&small).unwrap();
        assert_eq!(tail, [true, true, false]);
    }

    #[test]
    fn authors_lambda_includes_100_images_of_lvis() {
        // LVIS v0.5: 56,740 annotated images; 1.76e-3 misses the classes with exactly 100.
        let lvis = counts(&[99, 100, 101], 56_740);
        let tail = |lambda| TailRule::ImageFrequencyBelow(lambda).tail_classes(&lvis).unwrap();
        assert_eq!(tail(1.77e-3), [true, true, false]);
        assert_eq!(tail(1.76e-3), [true, false, false]);
    }

    #[test]
    fn groups_and_fractions() {
        let data = counts(&[10, 100, 101, 11], 1000);
        let tail = |rule: TailRule| rule.tail_classes(&data).unwrap();
        assert_eq!(tail(TailRule::LvisRare), [true, false, false, false]);
        assert_eq!(tail(TailRule::LvisRareAndCommon), [true, true, false, true]);
        assert_eq!(tail(TailRule::RarestFraction(0.5)), [true, false, false, true]);
        let tied = counts(&[1, 5, 5, 9], 20);
        let tail = TailRule::RarestFraction(0.5).tail_classes(&tied).unwrap();
        assert_eq!(tail, [true, false, false, false]);
    }

    #[test]
    fn none_or_all_is_refused() {
        let cifar = counts(&[5000, 50], 5050);
        let none = TailRule::ImageFrequencyBelow(1.77e-3).tail_classes(&cifar).unwrap_err();
        let expected = "tail rule image frequency < 0.00177 selects none of 2 classes; image counts run from 50 to 5000";
        assert_eq!(none.to_string(), expected);
        let all = TailRule::ImageCountAtMost(5000).tail_classes(&cifar).unwrap_err();
        assert!(matches!(all, CountsError::OnlyTailClasses { num_classes: 2, .. }));
        let nan = TailRule::ImageFrequencyBelow(f64::NAN).tail_classes(&cifar).unwrap_err();
        assert_eq!(nan.to_string(), "lambda must be a fraction in [0, 1], got NaN");
    }
}
