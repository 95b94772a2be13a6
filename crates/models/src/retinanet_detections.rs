//! Scores and offsets of RetinaNet's anchors to detections, on the host.

use std::ops::Range;

use longtail_ops::{BoxCoder, batched_nms};
use longtail_types::BBox;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::raw_detection::RawDetection;
use crate::rcnn::check::{check_fraction, check_positive};

/// Which anchors become detections. Defaults: torchvision's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetinaNetDetectionConfig {
    /// Only scores above this one count. Default: 0.05; for LVIS use 0.0001.
    pub score_threshold: f32,
    /// Highest scores of each level that enter the suppression. Default: 1000.
    pub candidates_per_level: usize,
    /// A box that overlaps a better one of its class by more than this IoU falls out. Default: 0.5.
    pub nms_threshold: f32,
    /// Most detections of an image, of all classes. Default: 300.
    pub max_per_image: usize,
}

impl Default for RetinaNetDetectionConfig {
    fn default() -> Self {
        Self {
            score_threshold: 0.05,
            candidates_per_level: 1000,
            nms_threshold: 0.5,
            max_per_image: 300,
        }
    }
}

impl RetinaNetDetectionConfig {
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        check_fraction("detection.score_threshold", f64::from(self.score_threshold))?;
        check_fraction("detection.nms_threshold", f64::from(self.nms_threshold))?;
        check_positive("detection.candidates_per_level", self.candidates_per_level)?;
        check_positive("detection.max_per_image", self.max_per_image)
    }
}

/// What the network says of one image.
pub(crate) struct AnchorRows<'a> {
    /// Anchors of each level.
    pub(crate) anchors: &'a [Vec<BBox>],
    /// `[anchors of all levels, num_classes]`
    pub(crate) scores: &'a [f32],
    /// `[anchors of all levels, 4]`
    pub(crate) offsets: &'a [f32],
    pub(crate) num_classes: usize,
}

/// Detections of one image by falling score. Scores and boxes that are no numbers are none.
pub(crate) fn detections(
    rows: &AnchorRows<'_>,
    size: [usize; 2],
    coder: &BoxCoder,
    config: &RetinaNetDetectionConfig,
) -> Vec<RawDetection> {
    let (mut boxes, mut scores, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for anchors in rows.anchors {
        let level = first * rows.num_classes..(first + anchors.len()) * rows.num_classes;
        for index in best(rows.scores, level, config) {
            let (row, label) = (index / rows.num_classes, index % rows.num_classes);
            let offsets = &rows.offsets[row * 4..][..4];
            let offsets = [offsets[0], offsets[1], offsets[2], offsets[3]];
            let bbox = coder.decode(offsets, anchors[row - first]).clip(size);
            if bbox.to_array().iter().all(|v| v.is_finite()) {
                boxes.push(bbox);
                scores.push(rows.scores[index]);
                labels.push(label as u32);
            }
        }
        first += anchors.len();
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

/// Positions in `level` of the highest scores above the threshold, highest first; the first of
/// equal ones first.
fn best(scores: &[f32], level: Range<usize>, config: &RetinaNetDetectionConfig) -> Vec<usize> {
    let mut order: Vec<usize> = level.filter(|&i| scores[i] > config.score_threshold).collect();
    let falling = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if config.candidates_per_level < order.len() {
        order.select_nth_unstable_by(config.candidates_per_level, falling);
        order.truncate(config.candidates_per_level);
    }
    order.sort_unstable_by(falling);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BBox = BBox { x1: 0.0, y1: 0.0, x2: 10.0, y2: 10.0 };
    const B: BBox = BBox { x1: 20.0, y1: 5.0, x2: 28.0, y2: 15.0 };

    fn run(
        scores: &[f32],
        anchors: &[Vec<BBox>],
        config: RetinaNetDetectionConfig,
    ) -> Vec<(usize, BBox)> {
        let offsets = vec![0.0; anchors.concat().len() * 4];
        let rows = AnchorRows { anchors, scores, offsets: &offsets, num_classes: 2 };
        let found = detections(&rows, [20, 30], &BoxCoder::default(), &config);
        assert!(found.iter().all(|d| d.mask.is_none()));
        found.into_iter().map(|d| (d.label, d.bbox)).collect()
    }

    #[test]
    fn an_anchor_may_be_of_several_classes() {
        let anchors = [vec![A, B], vec![A]];
        let scores = [0.9, 0.3, 0.05, 0.8, 0.7, 0.2];
        let config = RetinaNetDetectionConfig::default();
        // The second A falls to the first one in both classes; 0.05 is not above the threshold.
        assert_eq!(run(&scores, &anchors, config), [(0, A), (1, B), (1, A)]);
        let loose = RetinaNetDetectionConfig { nms_threshold: 1.0, ..config };
        let expected = [(0, A), (1, B), (0, A), (1, A), (1, A)];
        assert_eq!(run(&scores, &anchors, loose), expected);
        let one = RetinaNetDetectionConfig { candidates_per_level: 1, ..loose };
        assert_eq!(run(&scores, &anchors, one), [(0, A), (0, A)]);
        let two = RetinaNetDetectionConfig { max_per_image: 2, ..loose };
        assert_eq!(run(&scores, &anchors, two), expected[..2]);
    }

    #[test]
    fn nothing_and_no_numbers() {
        let config = RetinaNetDetectionConfig::default();
        assert_eq!(run(&[], &[vec![], vec![]], config), []);
        assert_eq!(run(&[f32::NAN, 0.01], &[vec![A]], config), []);
        let offsets = [f32::NAN, 0.0, 0.0, 0.0];
        let rows =
            AnchorRows { anchors: &[vec![A]], scores: &[0.9], offsets: &offsets, num_classes: 1 };
        assert_eq!(detections(&rows, [20, 30], &BoxCoder::default(), &config), []);
        let outside = BBox::new(-30.0, 0.0, -20.0, 9.0);
        let found = run(&[0.9, 0.0], &[vec![outside]], config); // as torchvision: clipped to no area
        assert_eq!(found, [(0, BBox::new(0.0, 0.0, 0.0, 9.0))]);
    }
}
