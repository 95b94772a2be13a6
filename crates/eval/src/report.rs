//! The numbers of one evaluation.

use std::path::Path;

use longtail_types::{ClassCounts, ClassMap, ShotGroup};
use serde::{Deserialize, Serialize};

use crate::{
    Calibration, ConfusionMatrix, EvalError, EvaluationProtocol, GroupAccuracy, ShotAccuracy,
    files::write_files, json::to_json, shot_accuracy::mean,
};

/// Accuracy of a classifier on one test set. Fractions are in `[0, 1]`; what was not measured is
/// absent, never 0.
///
/// Macro numbers are means over the classes that have a test example. A class that was never
/// predicted has precision 0. The macro recall is the macro accuracy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationReport {
    /// What was evaluated, usually the method.
    pub name: String,
    /// How.
    pub protocol: EvaluationProtocol,
    /// Number of test examples.
    pub num_examples: u64,
    /// Number of training images behind `train_images` of the classes.
    pub num_train_images: u64,
    /// Share of examples whose label has the highest score.
    pub micro_accuracy: f64,
    /// Mean of the classes' accuracies.
    pub macro_accuracy: f64,
    /// Mean of the classes' precisions.
    pub macro_precision: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// Share of examples whose label is among the five highest scores; absent with five classes or
    /// fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
    /// Accuracy by number of training images.
    pub shots: ShotAccuracy,
    /// Confidence against accuracy; absent if the scores are no probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Every class, in label order.
    pub classes: Vec<ClassResult>,
    /// Labels against predictions.
    pub confusion: ConfusionMatrix,
}

/// One class of a report. The measured numbers are absent if the class has no test example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    /// Its name.
    pub name: String,
    /// Its training images.
    pub train_images: u64,
    /// Its group by training images.
    pub group: ShotGroup,
    /// Its test examples.
    pub num_examples: u64,
    /// How often it was predicted.
    pub num_predicted: u64,
    /// Share of its examples that were predicted right: its recall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Share of its predictions that were right, 0 if it was never predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Harmonic mean of precision and recall: `2 TP / (predictions + examples)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
}

impl ClassificationReport {
    /// Tables must have `confusion.num_classes()` classes, and there must be an example.
    pub(crate) fn new(
        name: &str,
        classes: &ClassMap,
        counts: &ClassCounts,
        protocol: EvaluationProtocol,
        confusion: ConfusionMatrix,
    ) -> Self {
        let examples = confusion.label_totals();
        let predictions = confusion.predicted_totals();
        let names = classes.names().zip(counts.image_counts());
        let totals = examples.iter().zip(&predictions);
        let results = names.zip(totals).enumerate().map(|(label, ((name, &train), totals))| {
            let (&num_examples, &num_predicted) = totals;
            let correct = confusion.count(label, label) as f64;
            let share = |of: u64| (num_examples > 0).then(|| correct / of.max(1) as f64);
            ClassResult {
                name: name.to_string(),
                train_images: train,
                group: protocol.thresholds.group(train),
                num_examples,
                num_predicted,
                accuracy: share(num_examples),
                precision: share(num_predicted),
                f1: share(num_examples + num_predicted).map(|half| 2.0 * half),
            }
        });
        let classes: Vec<ClassResult> = results.collect();
        let num_examples: u64 = examples.iter().sum();
        let correct: u64 = (0..classes.len()).map(|label| confusion.count(label, label)).sum();
        let macro_mean = |value: fn(&ClassResult) -> Option<f64>| {
            mean(classes.iter().filter_map(value)).unwrap_or_default()
        };
        let group = |group| GroupAccuracy::of(classes.iter().filter(|class| class.group == group));
        Self {
            name: name.to_string(),
            protocol,
            num_examples,
            num_train_images: counts.num_images(),
            micro_accuracy: correct as f64 / num_examples.max(1) as f64,
            macro_accuracy: macro_mean(|class| class.accuracy),
            macro_precision: macro_mean(|class| class.precision),
            macro_f1: macro_mean(|class| class.f1),
            top5_accuracy: None,
            shots: ShotAccuracy {
                many: group(ShotGroup::Many),
                medium: group(ShotGroup::Medium),
                few: group(ShotGroup::Few),
            },
            calibration: None,
            classes,
            confusion,
        }
    }

    /// Accuracy of the `num_classes` classes with the fewest training images (of equal ones, those
    /// with the higher label), `None` if none of them has a test example.
    pub fn rarest(&self, num_classes: usize) -> Option<GroupAccuracy> {
        let order = self.by_frequency();
        let skipped = order.len().saturating_sub(num_classes);
        GroupAccuracy::of(order[skipped..].iter().map(|&label| &self.classes[label]))
    }

    /// Accuracy of the `num_classes` classes with the most training images (of equal ones, those
    /// with the lower label), `None` if none of them has a test example.
    pub fn most_frequent(&self, num_classes: usize) -> Option<GroupAccuracy> {
        let order = self.by_frequency();
        let kept = num_classes.min(order.len());
        GroupAccuracy::of(order[..kept].iter().map(|&label| &self.classes[label]))
    }

    /// Labels from most to fewest training images, equal ones in label order.
    pub fn by_frequency(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by_key(|&label| std::cmp::Reverse(self.classes[label].train_images));
        order
    }

    /// Number of classes of a group, with test examples or without.
    pub fn group_size(&self, group: ShotGroup) -> usize {
        self.classes.iter().filter(|class| class.group == group).count()
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If the file cannot be read or is no report.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let io = |source| EvalError::Io { path: path.to_path_buf(), source };
        let bad = |source| EvalError::Report { path: path.to_path_buf(), source };
        let report: Self =
            serde_json::from_slice(&std::fs::read(path).map_err(io)?).map_err(bad)?;
        let (classes, cells) = (report.classes.len(), report.confusion.num_classes());
        if classes != cells {
            let message = format!("{classes} classes, but a confusion matrix of {cells}");
            return Err(bad(serde::de::Error::custom(message)));
        }
        Ok(report)
    }

    /// The report as readable JSON.
    ///
    /// # Errors
    /// If a number is not finite, which an evaluator does not produce.
    pub fn json(&self) -> Result<String, EvalError> {
        to_json(self)
    }

    /// Writes `report.json`, `report.md`, `classes.csv` and the plots into an existing folder. All
    /// are made before the first is written, and each is written whole or not at all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        let mut files = vec![
            ("report.json", self.json()? + "\n"),
            ("report.md", self.markdown()),
            ("classes.csv", self.csv()),
        ];
        files.extend(self.plots()?);
        write_files(folder, files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClassificationEvaluator;

    /// Four classes with 300, 60, 5 and 3 images; the third has no test example.
    fn report() -> ClassificationReport {
        let mut evaluator = ClassificationEvaluator::new(4).unwrap();
        let rows = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (3, 0)];
        for (label, predicted) in rows {
            let mut scores = [0.1; 4];
            scores[predicted] = 0.7;
            evaluator.add(&scores, &[label]).unwrap();
        }
        let classes = ClassMap::from_names(["a, b", "c|d", "e", "f"]).unwrap();
        let images = vec![300, 60, 5, 3];
        let counts = ClassCounts::new(images.clone(), images, 368).unwrap();
        let protocol = EvaluationProtocol {
            test_set: "six images".into(),
            train_counts: "hand-made".into(),
            ..Default::default()
        };
        evaluator.report("by hand", &classes, &counts, protocol).unwrap()
    }

    #[test]
    fn numbers_by_hand() {
        let report = report();
        assert_eq!(report.micro_accuracy, 0.5);
        let accuracies: Vec<_> = report.classes.iter().map(|class| class.accuracy).collect();
        assert_eq!(accuracies, [Some(2.0 / 3.0), Some(0.5), None, Some(0.0)]);
        let precisions: Vec<_> = report.classes.iter().map(|class| class.precision).collect();
        assert_eq!(precisions, [Some(2.0 / 3.0), Some(0.5), None, Some(0.0)]);
        assert!((report.macro_accuracy - 7.0 / 18.0).abs() < 1e-12);
        let few = report.shots.few.unwrap();
        assert_eq!((few.accuracy, few.num_classes, few.num_examples), (0.0, 1, 1));
        assert_eq!(report.group_size(ShotGroup::Few), 2);
        assert_eq!(report.rarest(3).map(|rarest| rarest.accuracy), Some(0.25));
        assert_eq!(report.rarest(0), None);
        // The mean of two of three and one of two.
        let most = report.most_frequent(2).map(|most| most.accuracy);
        assert!(most.is_some_and(|accuracy| (accuracy - 7.0 / 12.0).abs() < 1e-12));
        assert_eq!(report.most_frequent(0), None);
        assert_eq!(report.by_frequency(), [0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_group_is_absent() {
        let mut report = serde_json::to_value(report()).unwrap();
        assert_eq!(report["shots"]["medium"]["accuracy"], 0.5);
        assert_eq!(report["classes"][2].get("accuracy"), None);
        report["shots"].as_object_mut().unwrap().remove("medium");
        let report: ClassificationReport = serde_json::from_value(report).unwrap();
        assert_eq!(report.shots.medium, None);
    }

    #[test]
    fn files_are_written_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let report = report();
        report.write(folder.path()).unwrap();
        let path = folder.path().join("report.json");
        let read = ClassificationReport::read(&path).unwrap();
        assert_eq!(read.classes[1].accuracy, Some(0.5));
        assert_eq!((&read.confusion, &read.protocol), (&report.confusion, &report.protocol));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"num_classes\": 4", "\"num_classes\": 5")).unwrap();
        let error = ClassificationReport::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("4 classes, but a confusion matrix of 5"), "{error}");
        assert!(report.write(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn the_table_states_groups_and_their_sizes() {
        let expected = "\
by hand                  accuracy %  classes  test images
─────────────────────────────────────────────────────────
overall (micro)               50.00        3            6
mean of classes (macro)       38.89        3            6
many (more than 100)          66.67        1            3
medium (20 to 100)            50.00        1            2
few (fewer than 20)            0.00        1            1
expected calibration error 20.00 %, 15 bins
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn markdown_states_the_protocol() {
        let markdown = report().markdown();
        for line in [
            "- Test set: six images (6 images).",
            "- Training images per class: hand-made (368 images).",
            "- Classes: 1 many, 1 medium, 2 few.",
            "| c\\|d | 60 | medium | 2 | 50.00 | 50.00 | 50.00 |",
            "| e | 5 | few | 0 |  |  |  |",
            "| f | a, b | 1 | 100.00 |",
        ] {
            assert!(markdown.lines().any(|found| found == line), "{line} is not in\n{markdown}");
        }
    }

    #[test]
    fn csv_leaves_unmeasured_fields_empty() {
        let csv = report().csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[1], "0,\"a, b\",300,many,3,3,0.666667,0.666667,0.666667");
        assert_eq!(lines[3], "2,e,5,few,0,1,,,");
    }
}
