//! Scores and offsets of regions to detections, on the host.

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

/// Detections of one image by falling score, without masks. Scores that are no numbers are none.
pub(crate) fn detections(
    rows: &Rows<'_>,
    size: [usize; 2],
    coder: &BoxCoder,
    config: &DetectionConfig,
) -> Vec<RawDetection> {
    let (mut boxes, mut scores, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let values = rows.values.chunks_exact(rows.num_columns.max(1));
    for (&bbox, values) in rows.boxes.iter().zip(values) {
        let (class_scores, offsets) = values.split_at(rows.num_classes);
        for (label, &score) in class_scores.iter().enumerate() {
            if score > config.score_threshold {
                let group = if rows.is_class_specific { label } else { 0 };
                let row = &offsets[group * 4..][..4];
                let bbox = coder.decode([row[0], row[1], row[2], row[3]], bbox).clip(size);
                if bbox.width() >= MIN_SIZE && bbox.height() >= MIN_SIZE {
                    boxes.push(bbox);
                    scores.push(score);
                    labels.push(label as u32);
                }
            }
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
