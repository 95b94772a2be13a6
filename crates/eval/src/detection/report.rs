//! The numbers of one evaluation of a detector.

use std::path::Path;

use hotcoco::COCOeval;
use longtail_types::FrequencyGroup;
use serde::{Deserialize, Serialize};

use super::{
    analysis::ErrorAnalysis,
    ground_truth::GroundTruth,
    protocol::DetectionProtocol,
    settings::DetectionSettings,
    summary::{ClassTables, DetectionMetrics, PrecisionRecall},
};
use crate::{EvalError, files::write_files, json::to_json, shot_accuracy::mean};

/// Average precision of a detector on one set of images. Fractions are in `[0, 1]`; what was not
/// measured is absent, never 0: a class without an object has no average precision, one whose
/// objects are never found has 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionReport {
    /// What was evaluated, usually the method.
    pub name: String,
    /// Seed of the run; absent if not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How.
    pub protocol: DetectionProtocol,
    /// Number of objects to be found, crowd regions and ignored ones excluded.
    pub num_objects: u64,
    /// Number of detections handed in, before any cap.
    pub num_detections: u64,
    /// The numbers.
    pub metrics: DetectionMetrics,
    /// Every class, in label order.
    pub classes: Vec<DetectionClass>,
    /// Precision over recall at overlap 0.5.
    pub precision_recall: PrecisionRecall,
    /// What goes wrong; absent if it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<ErrorAnalysis>,
}

/// One class of a [`DetectionReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionClass {
    /// Its name.
    pub name: String,
    /// Its id in the data set.
    pub id: u64,
    /// Its group; absent if nothing decides about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<FrequencyGroup>,
    /// Its training images; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_images: Option<u64>,
    /// Its objects to be found.
    pub num_objects: u64,
    /// Its detections handed in.
    pub num_detections: u64,
    /// Average precision; absent without an object.
    #[serde(rename = "AP", default, skip_serializing_if = "Option::is_none")]
    pub ap: Option<f64>,
    /// At overlap 0.50 alone.
    #[serde(rename = "AP50", default, skip_serializing_if = "Option::is_none")]
    pub ap50: Option<f64>,
    /// Average recall.
    #[serde(rename = "AR", default, skip_serializing_if = "Option::is_none")]
    pub ar: Option<f64>,
}

impl DetectionReport {
    /// `evaluation` is summarized; `counts` are the detections of each class.
    pub(crate) fn new(
        truth: &GroundTruth,
        settings: &DetectionSettings,
        evaluation: &COCOeval,
        counts: &[u64],
        analysis: Option<ErrorAnalysis>,
    ) -> Result<Self, EvalError> {
        let not_accumulated =
            || hotcoco::Error::InvalidState("the matches were not accumulated".into());
        let tables = ClassTables::new(evaluation).ok_or_else(not_accumulated)?;
        let training = settings.training.as_ref().map(|training| &training.counts);
        let groups = truth.groups(training);
        let images = training.map(|counts| counts.image_counts().to_vec());
        let images = images.or_else(|| truth.image_counts.clone());
        let objects = num_objects(truth);
        let at_half = evaluation.params.nearest_iou_thr_idx(0.5);
        let mut curves = Vec::with_capacity(truth.classes.len());
        let classes = truth.classes.names().enumerate().map(|(label, name)| {
            let id = truth.classes.id(label).unwrap_or_default();
            let curve = tables.curve(id, at_half);
            let ap50 = curve.as_ref().and_then(|curve| mean(curve.iter().copied()));
            curves.push(curve);
            DetectionClass {
                name: name.to_string(),
                id,
                group: groups.as_ref().and_then(|groups| groups.get(label).copied()),
                train_images: images.as_ref().and_then(|images| images.get(label).copied()),
                num_objects: objects.get(label).copied().unwrap_or_default(),
                num_detections: counts.get(label).copied().unwrap_or_default(),
                ap: tables.ap(id),
                ap50,
                ar: tables.ar(id),
            }
        });
        let classes: Vec<DetectionClass> = classes.collect();
        let of_group = |group| {
            let members = classes.iter().filter(|class| class.group == Some(group));
            mean(members.filter_map(|class| class.ap))
        };
        let metrics = DetectionMetrics {
            ap_rare: of_group(FrequencyGroup::Rare),
            ap_common: of_group(FrequencyGroup::Common),
            ap_frequent: of_group(FrequencyGroup::Frequent),
            ..DetectionMetrics::of(evaluation)
        };
        let curve = |group: Option<FrequencyGroup>| {
            let members = classes.iter().zip(&curves);
            let members = members.filter(|(class, _)| group.is_none() || class.group == group);
            mean_curve(members.filter_map(|(_, curve)| curve.as_deref()))
        };
        let precision_recall = PrecisionRecall {
            overlap: 0.5,
            all: curve(None),
            rare: curve(Some(FrequencyGroup::Rare)),
            common: curve(Some(FrequencyGroup::Common)),
            frequent: curve(Some(FrequencyGroup::Frequent)),
        };
        Ok(Self {
            name: settings.name.clone(),
            seed: settings.seed,
            protocol: DetectionProtocol::new(truth, settings, evaluation),
            num_objects: objects.iter().sum(),
            num_detections: counts.iter().sum(),
            metrics,
            classes,
            precision_recall,
            analysis,
        })
    }

    /// Labels from most to fewest training images, equal ones and all others in label order.
    pub fn by_frequency(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by_key(|&label| {
            let class = &self.classes[label];
            (std::cmp::Reverse(class.train_images), std::cmp::Reverse(class.group))
        });
        order
    }

    /// Number of classes of a group, and how many of them have an object to be found.
    pub fn group_size(&self, group: FrequencyGroup) -> [usize; 2] {
        let members = || self.classes.iter().filter(|class| class.group == Some(group));
        [members().count(), members().filter(|class| class.ap.is_some()).count()]
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If the file cannot be read or is no report of a detector.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let io = |source| EvalError::Io { path: path.to_path_buf(), source };
        let bad = |source| EvalError::Report { path: path.to_path_buf(), source };
        let report: Self =
            serde_json::from_slice(&std::fs::read(path).map_err(io)?).map_err(bad)?;
        let cells = report.analysis.as_ref().map(|analysis| analysis.confusion.num_classes());
        let classes = report.classes.len();
        if let Some(cells) = cells.filter(|&cells| cells != classes + 1) {
            let message =
                format!("{classes} classes and background, but a confusion matrix of {cells}");
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

/// Objects to be found of each class.
fn num_objects(truth: &GroundTruth) -> Vec<u64> {
    let mut counts = vec![0; truth.classes.len()];
    let labels: std::collections::HashMap<u64, usize> =
        (0..counts.len()).filter_map(|label| Some((truth.classes.id(label)?, label))).collect();
    for object in &truth.coco.dataset.annotations {
        let is_ignored = object.iscrowd || object.area.is_some_and(|area| area < 0.0);
        if let (false, Some(&label)) = (is_ignored, labels.get(&object.category_id)) {
            counts[label] += 1;
        }
    }
    counts
}

/// Mean of curves of one length, point by point; empty without a curve.
fn mean_curve<'a>(curves: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let (mut sums, mut number) = (Vec::new(), 0.0);
    for curve in curves {
        sums.resize(curve.len(), 0.0);
        sums.iter_mut().zip(curve).for_each(|(sum, value)| *sum += value);
        number += 1.0;
    }
    sums.into_iter().map(|sum: f64| sum / number).collect()
}
