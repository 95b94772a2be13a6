//! How the numbers of a report were measured.

use hotcoco::COCOeval;
use longtail_types::FrequencyGroup;
use serde::{Deserialize, Serialize};

use super::{
    ground_truth::GroundTruth,
    settings::{Benchmark, DetectionSettings, Overlap},
};

/// What a reader must know to repeat the numbers of a [`DetectionReport`](crate::DetectionReport).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionProtocol {
    /// Whose rules.
    pub benchmark: Benchmark,
    /// What was laid over each other.
    pub overlap: Overlap,
    /// Which images, in words.
    pub test_set: String,
    /// Number of images.
    pub num_images: u64,
    /// Detections that count: of each image and class (COCO), of each image (LVIS).
    pub max_detections: usize,
    /// Overlaps from which on an object counts as found.
    pub overlaps: Vec<f64>,
    /// Small, medium and large.
    pub area_ranges: Vec<AreaRange>,
    /// What decides about rare, common and frequent; absent if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupSource>,
    /// Where the training images of each class come from, in words; absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_counts: Option<String>,
}

/// Objects of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AreaRange {
    /// `all`, `small`, `medium` or `large`.
    pub name: String,
    /// Smallest area in square pixels, included.
    pub from: f64,
    /// Largest area in square pixels, included.
    pub to: f64,
}

/// What decides whether a class is rare, common or frequent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupSource {
    /// The field `frequency` of the annotations.
    Flags,
    /// Training images: at most 10, 11 to 100, more than 100.
    TrainingImages,
}

impl DetectionProtocol {
    pub(crate) fn new(
        truth: &GroundTruth,
        settings: &DetectionSettings,
        evaluation: &COCOeval,
    ) -> Self {
        let params = &evaluation.params;
        let has_flags =
            (0..truth.classes.len()).all(|label| truth.classes.frequency(label).is_some());
        let training = settings.training.as_ref();
        let counted = || training.map(|_| GroupSource::TrainingImages);
        let own_counts = || truth.image_counts.as_ref().map(|_| OWN_COUNTS.to_string());
        Self {
            benchmark: truth.benchmark,
            overlap: settings.overlap,
            test_set: settings.test_set.clone(),
            num_images: truth.num_images() as u64,
            max_detections: params.max_det(),
            overlaps: params.iou_thrs.clone(),
            area_ranges: params
                .area_ranges
                .iter()
                .map(|area| {
                    let [from, to] = area.range;
                    AreaRange { name: area.label.clone(), from, to }
                })
                .collect(),
            groups: if has_flags { Some(GroupSource::Flags) } else { counted() },
            train_counts: training.map(|training| training.source.clone()).or_else(own_counts),
        }
    }

    /// The rules in words, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let [first, last] = [self.overlaps.first(), self.overlaps.last()];
        let [first, last] = [first, last].map(|overlap| overlap.copied().unwrap_or_default());
        let cap = match self.benchmark {
            Benchmark::Coco => "of each image and class",
            Benchmark::Lvis => "of each image",
        };
        let sizes = self.area_ranges.iter().filter(|area| area.name != "all");
        let sizes: Vec<String> = sizes
            .map(|AreaRange { name, from, to }| match *to < 1e9 {
                true => format!("{name} {from} to {to}"),
                false => format!("{name} from {from}"),
            })
            .collect();
        vec![
            format!("Rules: {}, {}.", self.benchmark, self.overlap),
            format!("Detections that count: the {} best {cap}.", self.max_detections),
            format!(
                "Overlaps (IoU): {} from {first:.2} to {last:.2}; 101 recalls.",
                self.overlaps.len()
            ),
            format!("Areas in square pixels: {}.", sizes.join(", ")),
        ]
    }
}

const OWN_COUNTS: &str = "`image_count` of the annotations";

pub(crate) const GROUPS: [FrequencyGroup; 3] =
    [FrequencyGroup::Rare, FrequencyGroup::Common, FrequencyGroup::Frequent];

/// `rare`, `common` or `frequent`.
pub(crate) fn group_name(group: FrequencyGroup) -> &'static str {
    match group {
        FrequencyGroup::Rare => "rare",
        FrequencyGroup::Common => "common",
        FrequencyGroup::Frequent => "frequent",
    }
}

/// The training images of a group.
pub(crate) fn group_bounds(group: FrequencyGroup) -> &'static str {
    match group {
        FrequencyGroup::Rare => "at most 10",
        FrequencyGroup::Common => "11 to 100",
        FrequencyGroup::Frequent => "more than 100",
    }
}
