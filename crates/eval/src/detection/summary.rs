//! The numbers of COCO and LVIS, read from hotcoco's tables.

use hotcoco::{AccumulatedEval, COCOeval};
use longtail_types::FrequencyGroup;
use serde::{Deserialize, Serialize};

use crate::shot_accuracy::mean;

/// Average precision and recall, in `[0, 1]`. What has no object to be found is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectionMetrics {
    /// Average precision: mean over classes, 10 overlaps from 0.50 to 0.95 and 101 recalls.
    #[serde(rename = "AP", skip_serializing_if = "Option::is_none")]
    pub ap: Option<f64>,
    /// At overlap 0.50 alone.
    #[serde(rename = "AP50", skip_serializing_if = "Option::is_none")]
    pub ap50: Option<f64>,
    /// At overlap 0.75 alone.
    #[serde(rename = "AP75", skip_serializing_if = "Option::is_none")]
    pub ap75: Option<f64>,
    /// Of objects up to 32 x 32 pixels.
    #[serde(rename = "APs", skip_serializing_if = "Option::is_none")]
    pub ap_small: Option<f64>,
    /// Of objects from 32 x 32 to 96 x 96 pixels.
    #[serde(rename = "APm", skip_serializing_if = "Option::is_none")]
    pub ap_medium: Option<f64>,
    /// Of objects from 96 x 96 pixels.
    #[serde(rename = "APl", skip_serializing_if = "Option::is_none")]
    pub ap_large: Option<f64>,
    /// Of rare classes.
    #[serde(rename = "APr", skip_serializing_if = "Option::is_none")]
    pub ap_rare: Option<f64>,
    /// Of common classes.
    #[serde(rename = "APc", skip_serializing_if = "Option::is_none")]
    pub ap_common: Option<f64>,
    /// Of frequent classes.
    #[serde(rename = "APf", skip_serializing_if = "Option::is_none")]
    pub ap_frequent: Option<f64>,
    /// COCO: average recall of the best detection of each image and class.
    #[serde(rename = "AR1", skip_serializing_if = "Option::is_none")]
    pub ar1: Option<f64>,
    /// COCO: average recall of the best ten of each image and class.
    #[serde(rename = "AR10", skip_serializing_if = "Option::is_none")]
    pub ar10: Option<f64>,
    /// Average recall of all detections that count: COCO's AR100, LVIS's AR@300.
    #[serde(rename = "AR", skip_serializing_if = "Option::is_none")]
    pub ar: Option<f64>,
    /// Average recall of objects up to 32 x 32 pixels.
    #[serde(rename = "ARs", skip_serializing_if = "Option::is_none")]
    pub ar_small: Option<f64>,
    /// Average recall of objects from 32 x 32 to 96 x 96 pixels.
    #[serde(rename = "ARm", skip_serializing_if = "Option::is_none")]
    pub ar_medium: Option<f64>,
    /// Average recall of objects from 96 x 96 pixels.
    #[serde(rename = "ARl", skip_serializing_if = "Option::is_none")]
    pub ar_large: Option<f64>,
}

impl DetectionMetrics {
    /// The numbers of a summarized evaluation; the groups are left out.
    pub(crate) fn of(evaluation: &COCOeval) -> Self {
        let mut metrics = Self::default();
        let keys = evaluation.metric_keys();
        for (key, &value) in keys.into_iter().zip(evaluation.stats().unwrap_or_default()) {
            let place = match key {
                "AP" => &mut metrics.ap,
                "AP50" => &mut metrics.ap50,
                "AP75" => &mut metrics.ap75,
                "APs" => &mut metrics.ap_small,
                "APm" => &mut metrics.ap_medium,
                "APl" => &mut metrics.ap_large,
                "AR1" => &mut metrics.ar1,
                "AR10" => &mut metrics.ar10,
                "AR100" | "AR@300" => &mut metrics.ar,
                "ARs" | "ARs@300" => &mut metrics.ar_small,
                "ARm" | "ARm@300" => &mut metrics.ar_medium,
                "ARl" | "ARl@300" => &mut metrics.ar_large,
                _ => continue,
            };
            *place = (value >= 0.0).then_some(value);
        }
        metrics
    }

    /// Average precision of a group of classes.
    pub fn group(&self, group: FrequencyGroup) -> Option<f64> {
        match group {
            FrequencyGroup::Rare => self.ap_rare,
            FrequencyGroup::Common => self.ap_common,
            FrequencyGroup::Frequent => self.ap_frequent,
        }
    }

    /// The numbers that were measured, with their usual names.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("AP", self.ap),
            ("AP50", self.ap50),
            ("AP75", self.ap75),
            ("APs", self.ap_small),
            ("APm", self.ap_medium),
            ("APl", self.ap_large),
            ("APr", self.ap_rare),
            ("APc", self.ap_common),
            ("APf", self.ap_frequent),
            ("AR1", self.ar1),
            ("AR10", self.ar10),
            ("AR", self.ar),
            ("ARs", self.ar_small),
            ("ARm", self.ar_medium),
            ("ARl", self.ar_large),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Precision over recall at one overlap, as the mean of the classes that have objects.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PrecisionRecall {
    /// The overlap.
    pub overlap: f64,
    /// Of all classes: the precision at recall 0, 0.01, ... 1.
    pub all: Vec<f64>,
    /// Of rare classes; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rare: Vec<f64>,
    /// Of common classes; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common: Vec<f64>,
    /// Of frequent classes; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frequent: Vec<f64>,
}

impl PrecisionRecall {
    /// The curve of a group of classes.
    pub fn group(&self, group: FrequencyGroup) -> &[f64] {
        match group {
            FrequencyGroup::Rare => &self.rare,
            FrequencyGroup::Common => &self.common,
            FrequencyGroup::Frequent => &self.frequent,
        }
    }
}

/// Precision and recall of single classes: area range "all" and the highest cap on detections.
pub(crate) struct ClassTables<'a> {
    tables: &'a AccumulatedEval,
    area: usize,
    cap: usize,
}

impl<'a> ClassTables<'a> {
    /// `None` before `accumulate`.
    pub(crate) fn new(evaluation: &'a COCOeval) -> Option<Self> {
        let (area, cap) = (evaluation.params.all_area_idx(), evaluation.params.max_det_idx());
        Some(Self { tables: evaluation.accumulated()?, area, cap })
    }

    fn place(&self, class_id: u64) -> Option<usize> {
        self.tables.cat_ids.iter().position(|&id| id == class_id)
    }

    /// Precision at the 101 recalls, at one of the ten overlaps; `None` without an object.
    pub(crate) fn curve(&self, class_id: u64, overlap: usize) -> Option<Vec<f64>> {
        let place = self.place(class_id)?;
        let precision = |recall| {
            let index = self.tables.precision_idx(overlap, recall, place, self.area, self.cap);
            self.tables.precision.get(index).copied().filter(|&precision| precision >= 0.0)
        };
        (0..self.tables.shape.r).map(precision).collect()
    }

    /// Average precision over all overlaps; `None` without an object.
    pub(crate) fn ap(&self, class_id: u64) -> Option<f64> {
        let overlaps = 0..self.tables.shape.t;
        let at = overlaps.map(|overlap| mean(self.curve(class_id, overlap)?.into_iter()));
        mean(at.collect::<Option<Vec<f64>>>()?.into_iter())
    }

    /// Average recall over all overlaps; `None` without an object.
    pub(crate) fn ar(&self, class_id: u64) -> Option<f64> {
        let place = self.place(class_id)?;
        let recall = |overlap| {
            let index = self.tables.recall_idx(overlap, place, self.area, self.cap);
            self.tables.recall.get(index).copied().filter(|&recall| recall >= 0.0)
        };
        mean((0..self.tables.shape.t).map(recall).collect::<Option<Vec<f64>>>()?.into_iter())
    }
}
