//! Whether a confidence of 0.8 is right 8 times in 10.

use serde::{Deserialize, Serialize};

/// Number of bins of the expected calibration error.
pub const NUM_BINS: usize = 15;

/// Expected calibration error over 15 bins of equal width.
///
/// The confidence of an example is its largest score. Bin `m` of `M = 15` holds the confidences in
/// `(m/M, (m+1)/M]`; 0 is in the first. `ECE = sum_m n_m / n |accuracy_m - confidence_m|`, the
/// maximum calibration error is the largest of these gaps over the bins that hold an example.
/// Source: Guo et al., ICML 2017, <https://arxiv.org/abs/1706.04599>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error, in `[0, 1]`.
    pub expected_error: f64,
    /// Largest gap of a bin that holds an example.
    pub maximum_error: f64,
    /// Mean confidence of all examples.
    pub mean_confidence: f64,
    /// The bins, from low to high confidence; empty ones are absent.
    pub bins: Vec<CalibrationBin>,
}

/// Examples of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Confidences are above this (the first bin includes 0).
    pub above: f64,
    /// Confidences are at most this.
    pub at_most: f64,
    /// Number of examples.
    pub num_examples: u64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of right predictions.
    pub accuracy: f64,
}

/// Sums over the examples of each bin.
#[derive(Debug, Clone)]
pub(crate) struct CalibrationBins {
    bins: [Sums; NUM_BINS],
    is_probability: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    num_examples: u64,
    num_correct: u64,
    confidence: f64,
}

impl CalibrationBins {
    pub(crate) fn new() -> Self {
        Self { bins: [Sums::default(); NUM_BINS], is_probability: true }
    }

    /// Counts one example. A confidence outside `[0, 1]`, beyond rounding, marks all scores as no
    /// probabilities.
    pub(crate) fn add(&mut self, confidence: f32, is_correct: bool) {
        let confidence = f64::from(confidence);
        if !(-1e-5..=1.0 + 1e-5).contains(&confidence) {
            self.is_probability = false;
        }
        let confidence = confidence.clamp(0.0, 1.0);
        let bin = (confidence * NUM_BINS as f64).ceil() as usize;
        let sums = &mut self.bins[bin.saturating_sub(1).min(NUM_BINS - 1)];
        sums.num_examples += 1;
        sums.num_correct += u64::from(is_correct);
        sums.confidence += confidence;
    }

    /// `None` without examples or if a confidence was no probability.
    pub(crate) fn finish(&self) -> Option<Calibration> {
        let num_examples: u64 = self.bins.iter().map(|bin| bin.num_examples).sum();
        if num_examples == 0 || !self.is_probability {
            return None;
        }
        let filled = self.bins.iter().enumerate().filter(|(_, sums)| sums.num_examples > 0);
        let bins: Vec<_> = filled.map(|(index, sums)| sums.mean(index)).collect();
        let gap = |bin: &CalibrationBin| (bin.accuracy - bin.confidence).abs();
        let weighted = bins.iter().map(|bin| bin.num_examples as f64 * gap(bin));
        let confidence: f64 = self.bins.iter().map(|bin| bin.confidence).sum();
        Some(Calibration {
            expected_error: weighted.sum::<f64>() / num_examples as f64,
            maximum_error: bins.iter().map(gap).fold(0.0, f64::max),
            mean_confidence: confidence / num_examples as f64,
            bins,
        })
    }
}

impl Sums {
    fn mean(&self, index: usize) -> CalibrationBin {
        let examples = self.num_examples as f64;
        CalibrationBin {
            above: index as f64 / NUM_BINS as f64,
            at_most: (index + 1) as f64 / NUM_BINS as f64,
            num_examples: self.num_examples,
            confidence: self.confidence / examples,
            accuracy: self.num_correct as f64 / examples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_weighted_by_examples() {
        let mut bins = CalibrationBins::new();
        for correct in [true, true, true, false] {
            bins.add(0.75, correct); // gap 0
        }
        bins.add(0.5, true); // gap 0.5
        let calibration = bins.finish().unwrap();
        assert!((calibration.expected_error - 0.1).abs() < 1e-12);
        assert!((calibration.maximum_error - 0.5).abs() < 1e-12);
        assert!((calibration.mean_confidence - 0.7).abs() < 1e-12);
        assert_eq!(calibration.bins.len(), 2);
    }

    #[test]
    fn a_bin_includes_its_upper_bound() {
        let mut bins = CalibrationBins::new();
        // 0 and 1 are exact, 1/15 in f32 is just above the bound, 0.2 in f32 too.
        for confidence in [0.0, 1.0, 0.0666, 1.0 / 15.0, 0.2] {
            bins.add(confidence, true);
        }
        let counts = bins.bins.map(|bin| bin.num_examples);
        assert_eq!(counts, [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn rounding_is_forgiven_and_logits_are_not() {
        let mut bins = CalibrationBins::new();
        bins.add(1.000_001, true);
        assert_eq!(bins.finish().map(|calibration| calibration.expected_error), Some(0.0));
        bins.add(3.0, true);
        assert_eq!(bins.finish(), None);
        assert_eq!(CalibrationBins::new().finish(), None);
    }
}
