//! `metrics.jsonl`: one JSON object per line, flushed as it is written.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use longtail_eval::{ClassificationReport, GroupAccuracy};
use serde::Serialize;

use crate::error::TrainingError;

/// A point of the training curve: means since the point before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainPoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs done, with the fraction of the present one.
    pub epoch: f64,
    /// Mean training loss.
    pub loss: f32,
    /// Share of training images whose highest score was the right class.
    pub accuracy: f32,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Training speed.
    pub images_per_second: f64,
}

/// An evaluation during training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalPoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// What was measured on the test set.
    pub eval: EvalNumbers,
}

/// Accuracy on the test set; a group without classes is absent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EvalNumbers {
    /// Over all images.
    pub accuracy: f64,
    /// Mean over classes.
    pub macro_accuracy: f64,
    /// Mean over classes with many training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub many: Option<f64>,
    /// Mean over classes in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<f64>,
    /// Mean over classes with few training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub few: Option<f64>,
}

impl EvalNumbers {
    /// The numbers of a report.
    pub fn new(report: &ClassificationReport) -> Self {
        let accuracy = |group: Option<GroupAccuracy>| group.map(|group| group.accuracy);
        Self {
            accuracy: report.micro_accuracy,
            macro_accuracy: report.macro_accuracy,
            many: accuracy(report.shots.many),
            medium: accuracy(report.shots.medium),
            few: accuracy(report.shots.few),
        }
    }
}

/// Appends lines to a metrics file.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl MetricsFile {
    /// Opens the file and cuts off what was written after the first `length` bytes.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self, TrainingError> {
        let error = |source| TrainingError::Write { path: path.to_path_buf(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(error)?;
        let present = file.metadata().map_err(error)?.len();
        let length = length.min(present);
        file.set_len(length).map_err(error)?;
        file.seek(SeekFrom::End(0)).map_err(error)?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), TrainingError> {
        let error = |source| TrainingError::Write { path: self.path.clone(), source };
        let mut text = serde_json::to_string(line).map_err(|json| error(json.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(error)?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Bytes written so far, all of them handed to the system.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopening_cuts_off_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let point = |step| TrainPoint {
            step,
            epoch: 0.5,
            loss: 1.5,
            accuracy: 0.25,
            lr: 0.1,
            images_per_second: 100.0,
        };
        let mut file = MetricsFile::open(&path, 0).unwrap();
        file.write(&point(1)).unwrap();
        let length = file.length();
        file.write(&point(2)).unwrap();

        let mut file = MetricsFile::open(&path, length).unwrap();
        assert_eq!(file.length(), length);
        file.write(&point(3)).unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        let log = longtail_eval::MetricsLog::parse(&text).unwrap();
        assert_eq!(log.series("step", "loss"), [(1.0, 1.5), (3.0, 1.5)]);
    }
}
