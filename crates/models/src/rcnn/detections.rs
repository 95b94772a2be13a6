//! Scores and offsets of regions to detections, on the host.

use std::cmp::Ordering;

use longtail_ops::{BoxCoder, batched_nms};
use longtail_types::BBox;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::raw_detection::RawDetection;
use crate::rcnn::check::{check_fraction, check_positive};

/// Boxes with a side below this many pixels are no detection; torchvision's.
const MIN_SIZE: f32 = 1e-2;

/// Which boxes are detections. Defaults: torchvision's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionConfig {
    /// Only boxes above this score count. Default: 0.05; for LVIS use 0.0001.
    pub score_threshold: f32,
    /// A box that overlaps a better one of its class by more than this IoU falls out. Default: 0.5.
    pub nms_threshold: f32,
    /// Most detections of an image, of all classes. Default: 100; LVIS allows 300.
    pub max_per_image: usize,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self { score_threshold: 0.05, nms_threshold: 0.5, max_per_image: 100 }
    }
}

impl DetectionConfig {
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        check_fraction("detection.score_threshold", f64::from(self.score_threshold))?;
        check_fraction("detection.nms_threshold", f64::from(self.nms_threshold))?;
        check_positive("detection.max_per_image", self.max_per_image)
    }
}

/// Rows of one image: the boxes, and for each the scores of the classes and then the offsets.
pub(crate) struct Rows<'a> {
    pub(crate) boxes: &'a [BBox],
    /// `[boxes, num_columns]`
    pub(crate) values: &'a [f32],
    pub(crate) num_columns: usize,
    pub(crate) num_classes: usize,
    /// Offsets of each class, or of all together.
    pub(crate) is_class_specific: bool,
}

/// Candidates that the suppression sees at first, for each detection that is kept in the end.
const CANDIDATES_PER_DETECTION: usize = 4;

/// Detections of one image by falling score, without masks. Scores that are no numbers are none.
///
/// With many classes and a low threshold most boxes are candidates in most classes. Whether a
/// candidate is kept depends on higher-scoring ones alone, so the best are looked at first, and
/// more of them only if too few are kept.
pub(crate) fn detections(
    rows: &Rows<'_>,
    size: [usize; 2],
    coder: &BoxCoder,
    config: &DetectionConfig,
) -> Vec<RawDetection> {
    let mut candidates = rows.candidates(config.score_threshold);
    let mut count = config.max_per_image.saturating_mul(CANDIDATES_PER_DETECTION);
    loop {
        let len = candidates.len();
        let is_part = count < len;
        if is_part {
            candidates.select_nth_unstable_by(count, Candidate::by_score);
        }
        let found = kept(rows, &mut candidates[..count.min(len)], size, coder, config);
        if found.len() == config.max_per_image || !is_part {
            return found;
        }
        count = count.saturating_mul(CANDIDATES_PER_DETECTION);
    }
}

/// A box in one of its classes.
struct Candidate {
    score: f32,
    row: u32,
    label: u32,
}

impl Candidate {
    /// Highest first; of equal scores in the order of the rows.
    fn by_score(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.place().cmp(&other.place()))
    }

    fn place(&self) -> (u32, u32) {
        (self.row, self.label)
    }
}

impl Rows<'_> {
    fn candidates(&self, score_threshold: f32) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let rows = self.values.chunks_exact(self.num_columns.max(1)).take(self.boxes.len());
        for (row, values) in (0..).zip(rows) {
            let scores = (0..).zip(&values[..self.num_classes]);
            let scores = scores.filter(|&(_, &score)| score > score_threshold);
            candidates.extend(scores.map(|(label, &score)| Candidate { score, row, label }));
        }
        candidates
    }

    fn bbox(&self, candidate: &Candidate, coder: &BoxCoder) -> BBox {
        let [row, label] = [candidate.row as usize, candidate.label as usize];
        let group = if self.is_class_specific { label } else { 0 };
        let start = row * self.num_columns + self.num_classes + group * 4;
        let offsets = &self.values[start..start + 4];
        coder.decode([offsets[0], offsets[1], offsets[2], offsets[3]], self.boxes[row])
    }
}

/// The suppression among some of the candidates.
fn kept(
    rows: &Rows<'_>,
    candidates: &mut [Candidate],
    size: [usize; 2],
    coder: &BoxCoder,
    config: &DetectionConfig,
) -> Vec<RawDetection> {
    candidates.sort_unstable_by_key(Candidate::place);
    let (mut boxes, mut scores, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for candidate in candidates.iter() {
        let bbox = rows.bbox(candidate, coder).clip(size);
        if bbox.width() >= MIN_SIZE && bbox.height() >= MIN_SIZE {
            boxes.push(bbox);
            scores.push(candidate.score);
            labels.push(candidate.label);
        }
    }
    let kept = batched_nms(&boxes, &scores, &labels, config.nms_threshold);
    let detection = |index: usize| RawDetection {
        label: labels[index] as usize,
        score: scores[index],
        bbox: boxes[index],
        mask: None,
    };
    kept.into_iter().take(config.max_per_image).map(detection).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::{KeyedRng, Stream};

    const BOX: BBox = BBox { x1: 2.0, y1: 2.0, x2: 12.0, y2: 12.0 };

    fn run(values: &[f32], boxes: &[BBox], config: DetectionConfig) -> Vec<(usize, f32, BBox)> {
        let num_columns = values.len() / boxes.len().max(1);
        let rows =
            Rows { boxes, values, num_columns, num_classes: 2, is_class_specific: num_columns > 6 };
        let found = detections(&rows, [20, 14], &BoxCoder::new([10.0, 10.0, 5.0, 5.0]), &config);
        found.into_iter().map(|d| (d.label, d.score, d.bbox)).collect()
    }

    #[test]
    fn classes_have_boxes_of_their_own() {
        // Class 0 moves 0.3 of the width to the right and is clipped, class 1 stays.
        let values = [0.9, 0.6, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let moved = BBox::new(5.0, 2.0, 14.0, 12.0);
        let found = run(&values, &[BOX], DetectionConfig::default());
        assert_eq!(found, [(0, 0.9, moved), (1, 0.6, BOX)]);
        let agnostic = run(&values[..6], &[BOX], DetectionConfig::default());
        assert_eq!(agnostic, [(0, 0.9, moved), (1, 0.6, moved)]);
        let one = DetectionConfig { max_per_image: 1, ..Default::default() };
        assert_eq!(run(&values, &[BOX], one).len(), 1);
    }

    /// All candidates at once: what the best alone must give as well.
    #[test]
    fn looking_at_the_best_first_changes_nothing() {
        let mut rng = KeyedRng::new(1, Stream::Synthetic, 0, 0);
        let boxes: Vec<BBox> = (0..60)
            .map(|_| {
                let mut at = |most: f64| rng.uniform(0.0, most) as f32;
                BBox::from_xywh([at(10.0), at(8.0), 4.0 + at(4.0), 3.0 + at(3.0)])
            })
            .collect();
        // Few different scores, so that many are equal.
        let mut value = || (rng.uniform(0.0, 12.0).floor() / 12.0) as f32;
        let values: Vec<f32> = (0..60 * 6).map(|_| value()).collect();
        let all = DetectionConfig { score_threshold: 0.0, nms_threshold: 0.6, max_per_image: 999 };
        let all = run(&values, &boxes, all);
        assert!((20..110).contains(&all.len()), "{}", all.len()); // of 120 candidates
        for max_per_image in 1..=all.len() {
            let config =
                DetectionConfig { score_threshold: 0.0, nms_threshold: 0.6, max_per_image };
            assert_eq!(run(&values, &boxes, config), all[..max_per_image], "{max_per_image}");
        }
    }

    #[test]
    fn thresholds_are_strict_and_classes_do_not_suppress_each_other() {
        let row = |a: f32, b: f32| [a, b, 0.0, 0.0, 0.0, 0.0];
        let values = [row(0.9, 0.05), row(0.8, 0.7), row(f32::NAN, 0.0)].concat();
        let found = run(&values, &[BOX; 3], DetectionConfig::default());
        assert_eq!(found, [(0, 0.9, BOX), (1, 0.7, BOX)]);
        let outside = BBox::new(15.0, 2.0, 19.0, 12.0);
        assert_eq!(run(&row(0.9, 0.9), &[outside], DetectionConfig::default()), []);
        assert_eq!(run(&[], &[], DetectionConfig::default()), []);
    }
}
