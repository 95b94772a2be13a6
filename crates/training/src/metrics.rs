//! `metrics.jsonl`: one JSON object per line, flushed as it is written.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::error::TrainingError;
use crate::tensorboard::EventFile;

/// Numbers by name, in their order; an object in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedNumbers<T>(pub Vec<(&'static str, T)>);

impl<T: Copy> NamedNumbers<T> {
    /// The number of a name.
    pub fn get(&self, name: &str) -> Option<T> {
        self.0.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
    }
}

impl<T: Serialize> Serialize for NamedNumbers<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A point of the training curve: means since the point before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs done, with the fraction of the present one.
    pub epoch: f64,
    /// Mean training loss.
    pub loss: f32,
    /// Share of training images whose highest score was the right class; classification only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f32>,
    /// The parts of the loss by name, if it has parts.
    #[serde(flatten)]
    pub losses: NamedNumbers<f32>,
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
    /// What was measured on the test set; what was not measured is absent.
    pub eval: NamedNumbers<f64>,
}

/// Mean losses since they were last read.
#[derive(Clone, Debug)]
pub(crate) struct Losses {
    pub(crate) loss: f32,
    pub(crate) accuracy: Option<f32>,
    pub(crate) parts: NamedNumbers<f32>,
    pub(crate) steps: u64,
}

impl Losses {
    /// The loss, and which of its parts are not finite.
    pub(crate) fn describe(&self) -> String {
        let parts = self.parts.0.iter().filter(|(_, value)| !value.is_finite());
        let parts: Vec<String> = parts.map(|(name, value)| format!("{name} {value}")).collect();
        if parts.is_empty() {
            return self.loss.to_string();
        }
        format!("{} ({})", self.loss, parts.join(", "))
    }
}

/// Appends lines to a metrics file, and their numbers to a file for TensorBoard if there is one.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    length: u64,
    events: Option<EventFile>,
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
        Ok(Self { path: path.to_path_buf(), file, length, events: None })
    }

    /// The same with a file for TensorBoard.
    pub(crate) fn with_events(mut self, events: EventFile) -> Self {
        self.events = Some(events);
        self
    }

    /// Adds a line.
    pub(crate) fn write(&mut self, line: &impl Serialize) -> Result<(), TrainingError> {
        let error = |source| TrainingError::Write { path: self.path.clone(), source };
        let mut text = serde_json::to_string(line).map_err(|json| error(json.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(error)?;
        self.length += text.len() as u64;
        self.events.as_mut().map_or(Ok(()), |events| events.write(line))
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
            accuracy: Some(0.25),
            losses: NamedNumbers(vec![("loss_mask", 0.5)]),
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
        assert_eq!(log.series("step", "loss_mask"), [(1.0, 0.5), (3.0, 0.5)]);
    }
}
