//! What an evaluation of a detector found.

use std::path::Path;

use longtail_eval::{DetectionReport, EvalError};
use serde::Serialize;

use crate::error::TrainingError;
use crate::metrics::NamedNumbers;

/// Reports on boxes and, where the model has them, on masks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionResult {
    /// Boxes against boxes.
    pub boxes: DetectionReport,
    /// Masks against masks; `None` for a model without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<DetectionReport>,
}

/// Numbers that are watched during training.
const WATCHED: [&str; 6] = ["AP", "AP50", "AP75", "APr", "APc", "APf"];

/// The same of masks.
const WATCHED_OF_MASKS: [&str; 6] =
    ["mask_AP", "mask_AP50", "mask_AP75", "mask_APr", "mask_APc", "mask_APf"];

impl DetectionResult {
    /// The report that counts: on masks where there are any, as LVIS ranks, else on boxes.
    pub fn main(&self) -> &DetectionReport {
        self.masks.as_ref().unwrap_or(&self.boxes)
    }

    /// The tables for the terminal.
    pub fn table(&self) -> String {
        match &self.masks {
            None => self.boxes.table(),
            Some(masks) => format!("{}\n\n{}", self.boxes.table(), masks.table()),
        }
    }

    /// Both reports as readable JSON, under `boxes` and `masks`.
    /// # Errors
    /// If a number is not finite, which an evaluator does not produce.
    pub fn json(&self) -> Result<String, TrainingError> {
        Ok(serde_json::to_string_pretty(self).map_err(EvalError::Json)?)
    }

    /// Writes the report on boxes with its plots into an existing folder, and that on masks into
    /// `masks` within.
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainingError> {
        self.boxes.write(folder)?;
        if let Some(masks) = &self.masks {
            let path = folder.join("masks");
            std::fs::create_dir_all(&path)
                .map_err(|source| TrainingError::Write { path: path.clone(), source })?;
            masks.write(&path)?;
        }
        Ok(())
    }

    /// AP over all classes and by their frequency; those of masks begin with `mask_`.
    pub(crate) fn numbers(&self) -> NamedNumbers<f64> {
        let of = |report: &DetectionReport, names: [&'static str; 6]| {
            let named = report.metrics.named();
            let value = |name: &str| named.iter().find(|(known, _)| *known == name);
            let numbers = WATCHED.iter().zip(names);
            let numbers = numbers.filter_map(|(name, shown)| Some((shown, value(name)?.1)));
            numbers.collect::<Vec<_>>()
        };
        let masks = self.masks.as_ref().map(|masks| of(masks, WATCHED_OF_MASKS));
        NamedNumbers([of(&self.boxes, WATCHED), masks.unwrap_or_default()].concat())
    }

    /// One line for people, in percent.
    pub(crate) fn line(&self) -> String {
        let of = |report: &DetectionReport| {
            let named = report.metrics.named().into_iter();
            let named = named.filter(|(name, _)| WATCHED.contains(name));
            let named = named.map(|(name, value)| format!("{name} {:.2}", 100.0 * value));
            named.collect::<Vec<_>>().join(", ")
        };
        match &self.masks {
            None => of(&self.boxes),
            Some(masks) => format!("boxes {}; masks {}", of(&self.boxes), of(masks)),
        }
    }
}
