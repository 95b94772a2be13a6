//! Reports against scikit-learn and NumPy; `xtask/reference/eval.py` makes the file.

#![allow(clippy::unwrap_used, reason = "tests")]

use longtail_eval::{ClassificationEvaluator, ClassificationReport, EvaluationProtocol};
use longtail_types::{ClassCounts, ClassMap};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    name: String,
    scores: Vec<Vec<f32>>,
    labels: Vec<usize>,
    train_images: Vec<u64>,
    micro_accuracy: f64,
    macro_accuracy: f64,
    macro_precision: f64,
    macro_f1: f64,
    top5_accuracy: Option<f64>,
    accuracy: Vec<Option<f64>>,
    many: Option<f64>,
    medium: Option<f64>,
    few: Option<f64>,
    confusion: Vec<Vec<u64>>,
    calibration: Calibration,
}

#[derive(Deserialize)]
struct Calibration {
    expected_error: f64,
    maximum_error: f64,
    mean_confidence: f64,
}

fn report(case: &Case, batch_size: usize) -> ClassificationReport {
    let num_classes = case.train_images.len();
    let mut evaluator = ClassificationEvaluator::new(num_classes).unwrap();
    for (scores, labels) in case.scores.chunks(batch_size).zip(case.labels.chunks(batch_size)) {
        evaluator.add(&scores.concat(), labels).unwrap();
    }
    let classes = ClassMap::from_names((0..num_classes).map(|j| format!("class {j}"))).unwrap();
    let images = case.train_images.clone();
    let counts = ClassCounts::new(images.clone(), images.clone(), images.iter().sum()).unwrap();
    evaluator.report(&case.name, &classes, &counts, EvaluationProtocol::default()).unwrap()
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/eval.json")).unwrap()
}

#[track_caller]
fn assert_close(what: &str, actual: Option<f64>, expected: Option<f64>) {
    let is_close = match (actual, expected) {
        (Some(actual), Some(expected)) => (actual - expected).abs() <= TOLERANCE,
        (actual, expected) => actual == expected,
    };
    assert!(is_close, "{what}: {actual:?}, expected {expected:?}");
}

#[test]
fn reports_match_scikit_learn() {
    let cases = cases();
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let report = report(case, 32);
        let check = |what: &str, actual, expected| {
            assert_close(&format!("{}: {what}", case.name), actual, expected);
        };
        check("micro", Some(report.micro_accuracy), Some(case.micro_accuracy));
        check("macro", Some(report.macro_accuracy), Some(case.macro_accuracy));
        check("precision", Some(report.macro_precision), Some(case.macro_precision));
        check("F1", Some(report.macro_f1), Some(case.macro_f1));
        check("top 5", report.top5_accuracy, case.top5_accuracy);
        check("many", report.shots.many.map(|group| group.accuracy), case.many);
        check("medium", report.shots.medium.map(|group| group.accuracy), case.medium);
        check("few", report.shots.few.map(|group| group.accuracy), case.few);
        for (class, &expected) in report.classes.iter().zip(&case.accuracy) {
            check(&class.name, class.accuracy, expected);
        }
        let calibration = report.calibration.unwrap();
        let expected = &case.calibration;
        check("ECE", Some(calibration.expected_error), Some(expected.expected_error));
        check("MCE", Some(calibration.maximum_error), Some(expected.maximum_error));
        check("confidence", Some(calibration.mean_confidence), Some(expected.mean_confidence));
        for (label, row) in case.confusion.iter().enumerate() {
            for (predicted, &count) in row.iter().enumerate() {
                assert_eq!(report.confusion.count(label, predicted), count, "{}", case.name);
            }
        }
    }
}

#[test]
fn batches_do_not_matter() {
    for case in cases() {
        assert_eq!(report(&case, 1), report(&case, 1000), "{}", case.name);
    }
}
