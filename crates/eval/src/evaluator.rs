//! Scores and labels, one batch after another.

use std::cmp::Ordering;

use longtail_types::{ClassCounts, ClassMap};

use crate::{
    ClassificationReport, ConfusionMatrix, EvalError, EvaluationProtocol,
    calibration::CalibrationBins,
};

/// Number of classes from which on the top-5 accuracy means something: with five or fewer it is 1.
const MIN_CLASSES_FOR_TOP5: usize = 6;

/// Counts right and wrong predictions of a classifier with one label per example.
///
/// The prediction is the class with the highest score; among equal scores the class with the lowest
/// index comes first, for top-1 and for top-5. The memory needed does not grow with the number of
/// examples.
///
/// ```
/// use longtail_eval::{ClassificationEvaluator, EvaluationProtocol};
/// use longtail_types::{ClassCounts, ClassMap};
///
/// let mut evaluator = ClassificationEvaluator::new(2)?;
/// evaluator.add(&[0.9, 0.1, 0.6, 0.4], &[0, 1])?; // second example wrong
/// let classes = ClassMap::from_names(["common", "rare"])?;
/// let counts = ClassCounts::new(vec![500, 5], vec![500, 5], 505)?;
/// let report = evaluator.report("baseline", &classes, &counts, EvaluationProtocol::default())?;
/// assert_eq!(report.micro_accuracy, 0.5);
/// assert_eq!(report.shots.few.map(|group| group.accuracy), Some(0.0));
/// assert!(report.shots.medium.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClassificationEvaluator {
    num_classes: usize,
    num_examples: u64,
    top5_hits: u64,
    confusion: ConfusionMatrix,
    calibration: CalibrationBins,
}

impl ClassificationEvaluator {
    /// An evaluator that has seen nothing.
    ///
    /// # Errors
    /// Without classes.
    pub fn new(num_classes: usize) -> Result<Self, EvalError> {
        if num_classes == 0 {
            return Err(EvalError::NoClasses);
        }
        Ok(Self {
            num_classes,
            num_examples: 0,
            top5_hits: 0,
            confusion: ConfusionMatrix::new(num_classes),
            calibration: CalibrationBins::new(),
        })
    }

    /// Counts a batch: `scores` row-major, `[labels.len(), num_classes]`. A batch that is refused
    /// changes nothing.
    ///
    /// # Errors
    /// If the lengths disagree, a score is not finite or a label is outside `0..num_classes`.
    pub fn add(&mut self, scores: &[f32], labels: &[usize]) -> Result<(), EvalError> {
        self.check(scores, labels)?;
        for (scores, &label) in scores.chunks_exact(self.num_classes).zip(labels) {
            let label_score = scores[label];
            let before = scores.iter().enumerate().filter(|&(class, score)| {
                match score.partial_cmp(&label_score) {
                    Some(Ordering::Greater) => true,
                    Some(Ordering::Equal) => class < label,
                    _ => false,
                }
            });
            let rank = before.count();
            let (predicted, confidence) = first_maximum(scores);
            self.top5_hits += u64::from(rank < 5);
            self.confusion.add(label, predicted);
            self.calibration.add(confidence, predicted == label);
        }
        self.num_examples += labels.len() as u64;
        Ok(())
    }

    /// Number of examples counted so far.
    pub fn num_examples(&self) -> u64 {
        self.num_examples
    }

    /// What was counted, by class and by the number of training images.
    ///
    /// # Errors
    /// Without examples, if `classes` or `counts` have another number of classes than the scores, or
    /// if the thresholds cross.
    pub fn report(
        &self,
        name: &str,
        classes: &ClassMap,
        counts: &ClassCounts,
        protocol: EvaluationProtocol,
    ) -> Result<ClassificationReport, EvalError> {
        let expected = self.num_classes;
        for (what, found) in [
            ("the class map", classes.len()),
            ("the table of training images", counts.num_classes()),
        ] {
            if found != expected {
                return Err(EvalError::ClassMismatch { what, found, expected });
            }
        }
        if self.num_examples == 0 {
            return Err(EvalError::NoExamples);
        }
        protocol.check()?;
        let top5 = self.top5_hits as f64 / self.num_examples as f64;
        let mut report =
            ClassificationReport::new(name, classes, counts, protocol, self.confusion.clone());
        report.top5_accuracy = (self.num_classes >= MIN_CLASSES_FOR_TOP5).then_some(top5);
        report.calibration = self.calibration.finish();
        Ok(report)
    }

    fn check(&self, scores: &[f32], labels: &[usize]) -> Result<(), EvalError> {
        let (rows, num_classes) = (labels.len(), self.num_classes);
        let expected = rows.saturating_mul(num_classes);
        if scores.len() != expected {
            let scores = scores.len();
            return Err(EvalError::ScoreLength { scores, rows, expected, num_classes });
        }
        let row = |index: usize| self.num_examples + index as u64;
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            let (class, row) = (index % num_classes, row(index / num_classes));
            return Err(EvalError::NotFinite { value: scores[index], class, row });
        }
        if let Some(index) = labels.iter().position(|&label| label >= num_classes) {
            let (label, row) = (labels[index], row(index));
            return Err(EvalError::LabelOutOfRange { label, row, num_classes });
        }
        Ok(())
    }
}

/// Index and value of the largest score, the first of equal ones.
fn first_maximum(scores: &[f32]) -> (usize, f32) {
    let start = (0, f32::NEG_INFINITY);
    scores.iter().copied().enumerate().fold(
        start,
        |best, next| {
            if next.1 > best.1 { next } else { best }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(evaluator: &ClassificationEvaluator) -> Result<ClassificationReport, EvalError> {
        let num_classes = evaluator.num_classes;
        let names = (0..num_classes).map(|class| format!("class {class}"));
        let counts = vec![30; num_classes];
        let counts = ClassCounts::new(counts.clone(), counts, 30 * num_classes as u64).unwrap();
        let classes = ClassMap::from_names(names).unwrap();
        evaluator.report("test", &classes, &counts, EvaluationProtocol::default())
    }

    #[test]
    fn equal_scores_go_to_the_first_class() {
        let mut evaluator = ClassificationEvaluator::new(6).unwrap();
        evaluator.add(&[0.1; 6], &[0]).unwrap();
        evaluator.add(&[0.1; 6], &[4]).unwrap(); // fifth of six
        evaluator.add(&[0.1; 6], &[5]).unwrap(); // sixth
        let report = report(&evaluator).unwrap();
        assert_eq!(report.micro_accuracy, 1.0 / 3.0);
        assert_eq!(report.top5_accuracy, Some(2.0 / 3.0));
        assert_eq!(report.confusion.predicted_totals(), [3, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn top5_of_five_classes_is_absent() {
        let mut evaluator = ClassificationEvaluator::new(5).unwrap();
        evaluator.add(&[-1.0, -2.0, -3.0, -4.0, -5.0], &[4]).unwrap();
        let report = report(&evaluator).unwrap();
        assert_eq!((report.top5_accuracy, report.micro_accuracy), (None, 0.0));
        assert_eq!(report.calibration, None); // logits are no probabilities
    }

    #[test]
    fn refusals_name_value_and_place_and_change_nothing() {
        let mut evaluator = ClassificationEvaluator::new(3).unwrap();
        evaluator.add(&[0.2, 0.3, 0.5], &[2]).unwrap();
        let mut message = |scores: &[f32], labels: &[usize]| {
            evaluator.add(scores, labels).unwrap_err().to_string()
        };
        assert_eq!(
            message(&[0.0; 5], &[0, 1]),
            "5 scores for 2 labels: expected 6, one for each of 3 classes"
        );
        assert_eq!(
            message(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0], &[0, 1]),
            "score NaN of class 1 in row 2 is not finite"
        );
        assert_eq!(message(&[0.0; 6], &[0, 3]), "label 3 in row 2 is outside 0..3");
        assert_eq!(evaluator.num_examples(), 1);
        assert_eq!(report(&evaluator).unwrap().micro_accuracy, 1.0);
    }

    #[test]
    fn empty_batches_are_fine_and_empty_reports_are_not() {
        let mut evaluator = ClassificationEvaluator::new(3).unwrap();
        evaluator.add(&[], &[]).unwrap();
        assert!(matches!(report(&evaluator), Err(EvalError::NoExamples)));
        assert!(matches!(ClassificationEvaluator::new(0), Err(EvalError::NoClasses)));
    }

    #[test]
    fn tables_of_another_size_are_refused() {
        let mut evaluator = ClassificationEvaluator::new(3).unwrap();
        evaluator.add(&[0.2, 0.3, 0.5], &[2]).unwrap();
        let classes = ClassMap::from_names(["a", "b", "c"]).unwrap();
        let counts = ClassCounts::from_labels([0, 1], 2).unwrap();
        let protocol = EvaluationProtocol::default();
        let error = evaluator.report("test", &classes, &counts, protocol).unwrap_err();
        let expected = "the table of training images has 2 classes, the scores have 3";
        assert_eq!(error.to_string(), expected);
    }
}
