//! Several detectors side by side.

use std::path::Path;

use longtail_types::FrequencyGroup;
use serde::Serialize;

use super::report::DetectionReport;
use crate::{
    EvalError,
    comparison::{Column, Method, Spread, distinct, header, values},
    files::write_files,
    json::to_json,
    plot::comparison_svg,
    table::Table,
};

/// Reports of several detectors on one set of images. Reports with the same name are runs of one
/// method and become one row with mean and standard deviation; the first method is the baseline.
///
/// The differences to it are taken pair by pair: runs of one seed are a pair; where seeds are not
/// stated and both methods have as many runs, runs are paired in order. The error of a mean
/// difference is its standard error over the pairs, absent for a single pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectionComparison {
    /// Boxes or masks, and the rules.
    measure: String,
    columns: Vec<Column>,
    methods: Vec<Method>,
    differences: Vec<Difference>,
}

/// A method against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Difference {
    name: String,
    /// 0 if the runs could not be paired: then the means are compared.
    num_pairs: usize,
    /// One for each column.
    cells: Vec<Option<Gap>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Gap {
    mean: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    standard_error: Option<f64>,
}

type Read = fn(&DetectionReport) -> Option<f64>;

const COLUMNS: [(&str, Read); 7] = [
    ("AP", |report| report.metrics.ap),
    ("APr", |report| report.metrics.ap_rare),
    ("APc", |report| report.metrics.ap_common),
    ("APf", |report| report.metrics.ap_frequent),
    ("AP50", |report| report.metrics.ap50),
    ("AP75", |report| report.metrics.ap75),
    ("AR", |report| report.metrics.ar),
];

impl DetectionComparison {
    /// Compares reports. A number that no report has gets no column.
    ///
    /// # Errors
    /// Without reports, or if they differ in rules, images, classes, groups or objects.
    pub fn new(reports: &[DetectionReport]) -> Result<Self, EvalError> {
        let first = reports.first().ok_or(EvalError::NoReports)?;
        reports.iter().try_for_each(|report| check_comparable(first, report))?;
        let runs = |name: &str| reports.iter().filter(|run| run.name == name).collect::<Vec<_>>();
        let names = distinct(reports.iter().map(|report| report.name.as_str()));
        let methods: Vec<Vec<&DetectionReport>> = names.iter().map(|name| runs(name)).collect();
        let shown = COLUMNS.iter().filter(|(_, read)| reports.iter().any(|r| read(r).is_some()));
        let shown: Vec<&(&str, Read)> = shown.collect();
        let columns = shown.iter().map(|(name, _)| Column {
            name: name.to_string(),
            num_classes: num_classes(first, name),
        });
        let rows = methods.iter().map(|runs| Method {
            name: runs[0].name.clone(),
            num_runs: runs.len(),
            cells: shown
                .iter()
                .map(|(_, read)| {
                    Spread::of(&runs.iter().filter_map(|run| read(run)).collect::<Vec<_>>())
                })
                .collect(),
        });
        let others = methods.iter().skip(1);
        let differences = others.map(|runs| Difference::new(&methods[0], runs, &shown));
        let (benchmark, overlap) = (first.protocol.benchmark, first.protocol.overlap);
        Ok(Self {
            measure: format!("{benchmark}, {overlap}"),
            columns: columns.collect(),
            methods: rows.collect(),
            differences: differences.collect(),
        })
    }

    /// The table for the terminal, in percent; below, the difference of each method to the first.
    pub fn table(&self) -> String {
        self.join(Table::text)
    }

    /// The same tables in Markdown.
    pub fn markdown(&self) -> String {
        self.join(Table::markdown)
    }

    /// The numbers as JSON.
    ///
    /// # Errors
    /// If a number is not finite, which a report cannot hold.
    pub fn json(&self) -> Result<String, EvalError> {
        to_json(self)
    }

    /// Bars of AP, APr, APc and APf of each method, with whiskers of one standard deviation where
    /// there are several runs.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn svg(&self, title: &str) -> Result<String, EvalError> {
        let measure = format!("average precision, %; {}", self.measure);
        comparison_svg(title, &measure, &self.columns, &self.methods)
    }

    /// Writes `comparison.json`, `comparison.md` and `comparison.svg` into an existing folder, each
    /// whole or not at all.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, title: &str) -> Result<(), EvalError> {
        let mut markdown = format!("# {title}\n\n{}", self.markdown());
        markdown.push_str("\n![Average precision](comparison.svg)\n");
        let files = [
            ("comparison.json", self.json()? + "\n"),
            ("comparison.md", markdown),
            ("comparison.svg", self.svg(title)?),
        ];
        write_files(folder, files)
    }

    fn join(&self, print: fn(&Table) -> String) -> String {
        let mut text =
            print(&values(&format!("{}, %", self.measure), &self.columns, &self.methods));
        if let (Some(baseline), false) = (self.methods.first(), self.differences.is_empty()) {
            let title = format!("difference to {}, points", baseline.name);
            let mut table = Table::new(header(&title, &self.columns));
            for difference in &self.differences {
                table.row(difference.row());
            }
            text.push('\n');
            text.push_str(&print(&table));
        }
        text
    }
}

impl Difference {
    fn new(
        baseline: &[&DetectionReport],
        runs: &[&DetectionReport],
        columns: &[&(&str, Read)],
    ) -> Self {
        let pairs = pairs(baseline, runs);
        let cells = columns.iter().map(|(_, read)| {
            let gaps = pairs.iter().filter_map(|(base, run)| Some(read(run)? - read(base)?));
            let mean_of = |runs: &[&DetectionReport]| {
                Spread::of(&runs.iter().filter_map(|run| read(run)).collect::<Vec<_>>())
            };
            let gaps: Vec<f64> = gaps.collect();
            match Spread::of(&gaps) {
                Some(Spread { mean, deviation }) => {
                    let standard_error =
                        deviation.map(|spread| spread / (gaps.len() as f64).sqrt());
                    Some(Gap { mean, standard_error })
                }
                None if pairs.is_empty() => {
                    let mean = mean_of(runs)?.mean - mean_of(baseline)?.mean;
                    Some(Gap { mean, standard_error: None })
                }
                None => None,
            }
        });
        Self { name: runs[0].name.clone(), num_pairs: pairs.len(), cells: cells.collect() }
    }

    fn row(&self) -> Vec<String> {
        let name = match self.num_pairs {
            0 => format!("{} (not paired)", self.name),
            1 => self.name.clone(),
            pairs => format!("{} ({pairs} pairs, ± standard error)", self.name),
        };
        let cells = self.cells.iter().map(|cell| match cell {
            Some(Gap { mean, standard_error: Some(error) }) => {
                format!("{:+.2} ± {:.2}", 100.0 * mean, 100.0 * error)
            }
            Some(Gap { mean, standard_error: None }) => format!("{:+.2}", 100.0 * mean),
            None => String::new(),
        });
        std::iter::once(name).chain(cells).collect()
    }
}

/// Runs that belong together.
fn pairs<'a>(
    baseline: &[&'a DetectionReport],
    runs: &[&'a DetectionReport],
) -> Vec<(&'a DetectionReport, &'a DetectionReport)> {
    let has_seeds = baseline.iter().chain(runs).all(|run| run.seed.is_some());
    if has_seeds {
        let partner = |run: &&'a DetectionReport| {
            let base = baseline.iter().find(|base| base.seed == run.seed)?;
            Some((*base, *run))
        };
        return runs.iter().filter_map(partner).collect();
    }
    match baseline.len() == runs.len() {
        true => baseline.iter().copied().zip(runs.iter().copied()).collect(),
        false => Vec::new(),
    }
}

/// Classes behind the columns that are drawn.
fn num_classes(report: &DetectionReport, column: &str) -> Option<usize> {
    let group = match column {
        "AP" => {
            return Some(report.classes.iter().filter(|class| class.ap.is_some()).count());
        }
        "APr" => FrequencyGroup::Rare,
        "APc" => FrequencyGroup::Common,
        "APf" => FrequencyGroup::Frequent,
        _ => return None,
    };
    Some(report.group_size(group)[1])
}

fn check_comparable(first: &DetectionReport, report: &DetectionReport) -> Result<(), EvalError> {
    let (a, b) = (&first.protocol, &report.protocol);
    let classes = || first.classes.iter().zip(&report.classes);
    let what = if (a.benchmark, a.max_detections) != (b.benchmark, b.max_detections) {
        "the benchmark"
    } else if a.overlap != b.overlap {
        "what is compared, boxes or masks,"
    } else if a.num_images != b.num_images {
        "the number of images"
    } else if first.classes.len() != report.classes.len() {
        "the number of classes"
    } else if classes().any(|(a, b)| (a.id, &a.name) != (b.id, &b.name)) {
        "a class"
    } else if classes().any(|(a, b)| a.group != b.group) {
        "the group of a class"
    } else if classes().any(|(a, b)| a.num_objects != b.num_objects) {
        "the number of objects of a class"
    } else {
        return Ok(());
    };
    let (first, second) = (first.name.clone(), report.name.clone());
    Err(EvalError::NotComparable { first, second, what })
}
