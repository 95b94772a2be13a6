//! What was measured, and against which training set.

use longtail_types::ShotThresholds;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// What a reader must know to repeat the numbers of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationProtocol {
    /// Which examples were evaluated, in words: "CIFAR-10 test set".
    pub test_set: String,
    /// Where the numbers of training images come from, in words: "CIFAR-10-LT, imbalance 100,
    /// seed 0".
    pub train_counts: String,
    /// Bounds of many, medium and few.
    pub thresholds: ShotThresholds,
}

impl Default for EvaluationProtocol {
    /// Unnamed sets, more than 100 and fewer than 20 images.
    fn default() -> Self {
        let unnamed = || "not stated".to_string();
        let thresholds = ShotThresholds::default();
        Self { test_set: unnamed(), train_counts: unnamed(), thresholds }
    }
}

impl EvaluationProtocol {
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        let ShotThresholds { many_above, few_below } = self.thresholds;
        if few_below > many_above.saturating_add(1) {
            return Err(EvalError::CrossedThresholds { many_above, few_below });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossed_thresholds_are_refused() {
        let check = |many_above, few_below| {
            let thresholds = ShotThresholds { many_above, few_below };
            EvaluationProtocol { thresholds, ..Default::default() }.check()
        };
        assert!(check(100, 101).is_ok()); // no medium class
        let expected = "shot thresholds cross: many is more than 20 images, few is fewer than 100";
        assert_eq!(check(20, 100).unwrap_err().to_string(), expected);
    }
}
