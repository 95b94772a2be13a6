//! Groups of classes by how many training images they have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Many, medium or few training images: the groups of ImageNet-LT, Places-LT and iNaturalist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShotGroup {
    /// More than `many_above` training images.
    Many,
    /// In between, both bounds included.
    Medium,
    /// Fewer than `few_below` training images.
    Few,
}

impl fmt::Display for ShotGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Many => "many",
            Self::Medium => "medium",
            Self::Few => "few",
        })
    }
}

/// Where many ends and few begins.
///
/// Default: more than 100 and fewer than 20 images (Liu et al., CVPR 2019,
/// <https://arxiv.org/abs/1904.05160>, released code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShotThresholds {
    /// A class with more training images than this has many.
    pub many_above: u64,
    /// A class with fewer training images than this has few.
    pub few_below: u64,
}

impl Default for ShotThresholds {
    fn default() -> Self {
        Self { many_above: 100, few_below: 20 }
    }
}

impl ShotThresholds {
    /// The group of a class with this many training images; many wins if the bounds cross.
    pub fn group(&self, image_count: u64) -> ShotGroup {
        if image_count > self.many_above {
            ShotGroup::Many
        } else if image_count < self.few_below {
            ShotGroup::Few
        } else {
            ShotGroup::Medium
        }
    }
}

/// LVIS's groups by training images: at most 10, at most 100, more.
///
/// The annotation files agree with these bounds; a comment in the released API that says "< 10" and
/// "< 100" does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FrequencyGroup {
    /// `r`: 1 to 10 training images.
    #[serde(rename = "r")]
    Rare,
    /// `c`: 11 to 100 training images.
    #[serde(rename = "c")]
    Common,
    /// `f`: more than 100 training images.
    #[serde(rename = "f")]
    Frequent,
}

impl FrequencyGroup {
    /// The group of a class with this many training images.
    pub fn of(image_count: u64) -> Self {
        match image_count {
            0..=10 => Self::Rare,
            11..=100 => Self::Common,
            _ => Self::Frequent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_right_group() {
        let shots = ShotThresholds::default();
        let groups = [0, 19, 20, 100, 101].map(|count| shots.group(count));
        use ShotGroup::{Few, Many, Medium};
        assert_eq!(groups, [Few, Few, Medium, Medium, Many]);
        use FrequencyGroup::{Common, Frequent, Rare};
        let groups = [1, 10, 11, 100, 101].map(FrequencyGroup::of);
        assert_eq!(groups, [Rare, Rare, Common, Common, Frequent]);
    }
}
