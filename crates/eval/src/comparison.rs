//! Several reports side by side.

use std::path::Path;

use serde::Serialize;

use crate::{
    ClassificationReport, EvalError,
    files::write_files,
    measure::Measure,
    shot_accuracy::mean,
    table::{Table, percent, plural},
};

/// Reports of several methods on one test set, in one table and one plot. Reports with the same name
/// are runs of one method (seeds) and become one row with mean and spread; the first method is the
/// baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    columns: Vec<Column>,
    methods: Vec<Method>,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Classes behind the number; absent for the calibration error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) num_classes: Option<usize>,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) num_runs: usize,
    /// One for each column.
    pub(crate) cells: Vec<Option<Spread>>,
}

/// Mean and sample standard deviation over runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    /// Absent for a single run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deviation: Option<f64>,
}

impl Comparison {
    /// Compares reports; `num_at_ends` adds columns for the accuracy of so many of the most frequent
    /// and of the rarest classes, 0 adds none. A group that no report has gets no column.
    ///
    /// # Errors
    /// Without reports, or if they differ in classes, training images, thresholds or number of test
    /// images.
    pub fn new(reports: &[ClassificationReport], num_at_ends: usize) -> Result<Self, EvalError> {
        let first = reports.first().ok_or(EvalError::NoReports)?;
        reports.iter().try_for_each(|report| check_comparable(first, report))?;
        let names = distinct(reports.iter().map(|report| report.name.as_str()));
        let mut comparison = Self { columns: Vec::new(), methods: Vec::new() };
        for name in &names {
            let num_runs = reports.iter().filter(|report| report.name == *name).count();
            comparison.methods.push(Method { name: name.to_string(), num_runs, cells: vec![] });
        }
        for measure in Measure::all(num_at_ends) {
            let cells = names.iter().map(|name| {
                let runs = reports.iter().filter(|report| report.name == *name);
                Spread::of(&runs.filter_map(|run| measure.read(run)).collect::<Vec<_>>())
            });
            let cells: Vec<Option<Spread>> = cells.collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let (name, num_classes) = (measure.name(), measure.num_classes(first));
            comparison.columns.push(Column { name, num_classes });
            for (method, cell) in comparison.methods.iter_mut().zip(cells) {
                method.cells.push(cell);
            }
        }
        Ok(comparison)
    }

    /// The table for the terminal, in percent; below, the difference of each method to the first.
    pub fn table(&self) -> String {
        let mut text = self.accuracies().text();
        if let Some(differences) = self.differences() {
            text.push('\n');
            text.push_str(&differences.text());
        }
        text
    }

    /// The same tables in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = self.accuracies().markdown();
        if let Some(differences) = self.differences() {
            text.push('\n');
            text.push_str(&differences.markdown());
        }
        text
    }

    /// The accuracies as JSON.
    ///
    /// # Errors
    /// If a number is not finite, which a report cannot hold.
    pub fn json(&self) -> Result<String, EvalError> {
        crate::json::to_json(self)
    }

    /// Writes `comparison.json`, `comparison.md` and `comparison.svg` into an existing folder, each
    /// whole or not at all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, title: &str) -> Result<(), EvalError> {
        let mut markdown = format!("# {title}\n\n{}", self.markdown());
        markdown.push_str("\n![Accuracy by training images](comparison.svg)\n");
        let files = [
            ("comparison.json", self.json()? + "\n"),
            ("comparison.md", markdown),
            ("comparison.svg", self.svg(title)?),
        ];
        write_files(folder, files)
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    fn accuracies(&self) -> Table {
        values("accuracy %", &self.columns, &self.methods)
    }

    fn differences(&self) -> Option<Table> {
        let (baseline, others) = self.methods.split_first()?;
        if others.is_empty() {
            return None;
        }
        let title = format!("difference to {}, points", baseline.name);
        let mut table = Table::new(header(&title, &self.columns));
        for method in others {
            let pairs = method.cells.iter().zip(&baseline.cells);
            let cells = pairs.map(|(cell, baseline)| match (cell, baseline) {
                (Some(cell), Some(base)) => format!("{:+.2}", 100.0 * (cell.mean - base.mean)),
                _ => String::new(),
            });
            table.row(std::iter::once(method.name.clone()).chain(cells));
        }
        Some(table)
    }
}

/// A title, and the names of the columns.
pub(crate) fn header(title: &str, columns: &[Column]) -> Vec<String> {
    let names = columns.iter().map(|column| column.name.clone());
    [title.to_string()].into_iter().chain(names).collect()
}

/// Methods in rows, with the number of classes behind each column.
pub(crate) fn values(title: &str, columns: &[Column], methods: &[Method]) -> Table {
    let mut table = Table::new(header(title, columns));
    let classes = columns.iter().map(|column| match column.num_classes {
        Some(number) => plural(number as u64, "class", "classes"),
        None => String::new(),
    });
    table.row(std::iter::once(String::new()).chain(classes));
    for method in methods {
        let name = match method.num_runs {
            1 => method.name.clone(),
            runs => format!("{} ({runs} runs)", method.name),
        };
        let cells = method.cells.iter().map(|cell| cell.map(Spread::text).unwrap_or_default());
        table.row(std::iter::once(name).chain(cells));
    }
    table
}

/// Names in the order in which they first occur.
pub(crate) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

fn check_comparable(
    first: &ClassificationReport,
    report: &ClassificationReport,
) -> Result<(), EvalError> {
    let differs = |read: fn(&ClassificationReport, usize) -> u64| {
        (0..first.classes.len()).any(|label| read(first, label) != read(report, label))
    };
    let what = if first.classes.len() != report.classes.len() {
        "the number of classes"
    } else if first.classes.iter().zip(&report.classes).any(|(a, b)| a.name != b.name) {
        "a class name"
    } else if first.protocol.thresholds != report.protocol.thresholds {
        "a shot threshold"
    } else if differs(|report, label| report.classes[label].train_images) {
        "the number of training images of a class"
    } else if differs(|report, label| report.classes[label].num_examples) {
        "the number of test images of a class"
    } else {
        return Ok(());
    };
    let (first, second) = (first.name.clone(), report.name.clone());
    Err(EvalError::NotComparable { first, second, what })
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mean = mean(values.iter().copied())?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
        Some(Self { mean, deviation })
    }

    fn text(self) -> String {
        match self.deviation {
            Some(deviation) => format!("{} ± {}", percent(self.mean), percent(deviation)),
            None => percent(self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClassificationEvaluator, EvaluationProtocol};
    use longtail_types::{ClassCounts, ClassMap};

    /// Two examples per class; `right` of them are right. Classes have 500, 50 and 40 images.
    fn report(name: &str, right: [usize; 3]) -> ClassificationReport {
        let mut evaluator = ClassificationEvaluator::new(3).unwrap();
        for (label, right) in right.into_iter().enumerate() {
            for example in 0..2 {
                let mut scores = [2.0; 3]; // no probabilities
                scores[if example < right { label } else { (label + 1) % 3 }] = 3.0;
                evaluator.add(&scores, &[label]).unwrap();
            }
        }
        let classes = ClassMap::from_names(["cat", "dog", "owl"]).unwrap();
        let images = vec![500, 50, 40];
        let counts = ClassCounts::new(images.clone(), images, 590).unwrap();
        evaluator.report(name, &classes, &counts, EvaluationProtocol::default()).unwrap()
    }

    #[test]
    fn methods_runs_and_differences() {
        let reports = [
            report("plain", [2, 0, 0]),
            report("balanced", [2, 2, 1]),
            report("balanced", [2, 1, 1]),
        ];
        let comparison = Comparison::new(&reports, 1).unwrap();
        let expected = "\
accuracy %               overall           many         medium     frequent 1      rarest 1
───────────────────────────────────────────────────────────────────────────────────────────
                       3 classes        1 class      2 classes        1 class       1 class
plain                      33.33         100.00           0.00         100.00          0.00
balanced (2 runs)  75.00 ± 11.79  100.00 ± 0.00  62.50 ± 17.68  100.00 ± 0.00  50.00 ± 0.00

difference to plain, points  overall   many  medium  frequent 1  rarest 1
─────────────────────────────────────────────────────────────────────────
balanced                      +41.67  +0.00  +62.50       +0.00    +50.00
";
        assert_eq!(comparison.table(), expected);
        assert!(
            comparison.markdown().contains("| plain | 33.33 | 100.00 | 0.00 | 100.00 | 0.00 |")
        );
        let json: serde_json::Value = serde_json::from_str(&comparison.json().unwrap()).unwrap();
        assert_eq!(json["methods"][0]["cells"][1]["mean"], 1.0);
    }

    #[test]
    fn different_protocols_are_refused() {
        let first = report("plain", [2, 0, 0]);
        let mut other = report("balanced", [2, 2, 2]);
        other.protocol.thresholds.few_below = 10;
        let error = Comparison::new(&[first.clone(), other], 0).unwrap_err().to_string();
        let expected =
            "report \"balanced\" cannot be compared with \"plain\": a shot threshold differs";
        assert_eq!(error, expected);
        let mut other = report("balanced", [2, 2, 2]);
        other.classes[2].train_images = 41;
        let error = Comparison::new(&[first, other], 0).unwrap_err().to_string();
        assert!(error.ends_with("the number of training images of a class differs"), "{error}");
        assert!(matches!(Comparison::new(&[], 0), Err(EvalError::NoReports)));
    }
}
