//! Accuracy of groups of classes.

use longtail_types::ShotGroup;
use serde::{Deserialize, Serialize};

use crate::ClassResult;

/// Accuracy by number of training images. A group without a class that has a test example is
/// absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ShotAccuracy {
    /// Classes with many training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many: Option<GroupAccuracy>,
    /// Classes in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<GroupAccuracy>,
    /// Classes with few training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few: Option<GroupAccuracy>,
}

impl ShotAccuracy {
    /// One group, `None` if it is empty.
    pub fn group(&self, group: ShotGroup) -> Option<GroupAccuracy> {
        match group {
            ShotGroup::Many => self.many,
            ShotGroup::Medium => self.medium,
            ShotGroup::Few => self.few,
        }
    }
}

/// Accuracy of a group of classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupAccuracy {
    /// Mean of the accuracies of its classes that have a test example.
    pub accuracy: f64,
    /// Number of these classes.
    pub num_classes: usize,
    /// Their test examples.
    pub num_examples: u64,
}

impl GroupAccuracy {
    /// Mean over the classes that have a test example, `None` without one.
    pub(crate) fn of<'a>(classes: impl Iterator<Item = &'a ClassResult> + Clone) -> Option<Self> {
        let measured = classes.filter(|class| class.accuracy.is_some());
        Some(Self {
            accuracy: mean(measured.clone().filter_map(|class| class.accuracy))?,
            num_classes: measured.clone().count(),
            num_examples: measured.map(|class| class.num_examples).sum(),
        })
    }
}

/// `None` of nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
