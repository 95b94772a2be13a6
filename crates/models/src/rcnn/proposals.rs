//! Anchors and what the network says of them to proposals, on the host.

use longtail_ops::{BoxCoder, batched_nms};
use longtail_types::BBox;
use serde::{Deserialize, Serialize};

use crate::rcnn::rpn_head::NUM_OUTPUTS;

/// Sides below this many pixels are no proposal; torchvision's.
const MIN_SIZE: f32 = 1e-3;

/// How many proposals an image keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalLimits {
    /// Highest-scoring anchors of each level that enter the suppression.
    pub before_nms: usize,
    /// Proposals of all levels that are kept after it.
    pub after_nms: usize,
}

/// Which anchors become proposals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProposalRule {
    pub(crate) limits: ProposalLimits,
    pub(crate) nms_threshold: f32,
    pub(crate) min_score: f32,
}

/// Proposals of one image by falling score: the best anchors of each level, moved by their offsets,
/// clipped to the image, without those that overlap a better one of their level.
///
/// `predictions` are `[sum of anchors, 5]`, `size` is the image's without padding. Predictions that
/// are no numbers are left out.
pub(crate) fn proposals(
    predictions: &[f32],
    anchors: &[Vec<BBox>],
    size: [usize; 2],
    coder: &BoxCoder,
    rule: ProposalRule,
) -> Vec<BBox> {
    let (mut boxes, mut scores, mut levels) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = predictions;
    for (level, anchors) in anchors.iter().enumerate() {
        let (rows, after) = rest.split_at(anchors.len() * NUM_OUTPUTS);
        rest = after;
        for index in best(rows, rule.limits.before_nms) {
            let row = &rows[index * NUM_OUTPUTS..][..NUM_OUTPUTS];
            let offsets = [row[1], row[2], row[3], row[4]];
            let bbox = coder.decode(offsets, anchors[index]).clip(size);
            let score = sigmoid(row[0]);
            let is_large = bbox.width() >= MIN_SIZE && bbox.height() >= MIN_SIZE; // false for NaN
            if is_large && score >= rule.min_score {
                boxes.push(bbox);
                scores.push(score);
                levels.push(level as u32);
            }
        }
    }
    let kept = batched_nms(&boxes, &scores, &levels, rule.nms_threshold);
    kept.into_iter().take(rule.limits.after_nms).map(|index| boxes[index]).collect()
}

/// Rows of the `count` highest logits, highest first; the first of equal ones first.
fn best(rows: &[f32], count: usize) -> Vec<usize> {
    let logit = |&index: &usize| rows[index * NUM_OUTPUTS];
    let mut order: Vec<usize> = (0..rows.len() / NUM_OUTPUTS).collect();
    order.retain(|index| !logit(index).is_nan());
    let falling = |a: &usize, b: &usize| logit(b).total_cmp(&logit(a)).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, falling);
        order.truncate(count);
    }
    order.sort_unstable_by(falling);
    order
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(before_nms: usize, after_nms: usize) -> ProposalRule {
        let limits = ProposalLimits { before_nms, after_nms };
        ProposalRule { limits, nms_threshold: 0.7, min_score: 0.0 }
    }

    fn coder() -> BoxCoder {
        BoxCoder::new([1.0; 4])
    }

    /// No offsets: the anchors themselves.
    fn run(logits: &[f32], anchors: &[Vec<BBox>], rule: ProposalRule) -> Vec<BBox> {
        let rows: Vec<f32> = logits.iter().flat_map(|&v| [v, 0.0, 0.0, 0.0, 0.0]).collect();
        proposals(&rows, anchors, [20, 30], &coder(), rule)
    }

    #[test]
    fn levels_have_their_own_limit_and_suppression() {
        let a = BBox::new(0.0, 0.0, 10.0, 10.0);
        let almost_a = BBox::new(0.0, 0.0, 10.0, 9.0); // IoU 0.9 with a
        let b = BBox::new(20.0, 5.0, 28.0, 15.0);
        let anchors = vec![vec![almost_a, a, b], vec![a, b]];
        // almost_a falls to a of its level; the other level has its own a.
        let found = run(&[1.0, 2.0, 3.0, 0.5, 4.0], &anchors, rule(9, 9));
        assert_eq!(found, [b, b, a, a]);
        assert_eq!(run(&[1.0, 2.0, 3.0, 0.5, 4.0], &anchors, rule(1, 9)), [b, b]);
        assert_eq!(run(&[1.0, 2.0, 3.0, 0.5, 4.0], &anchors, rule(9, 3)), [b, b, a]);
        assert_eq!(run(&[1.0, 2.0, 3.0, 0.5, 4.0], &anchors, rule(0, 3)), []);
    }

    #[test]
    fn clipped_tiny_and_undefined_boxes() {
        let partly = BBox::new(-5.0, 15.0, 5.0, 25.0);
        let outside = BBox::new(31.0, 0.0, 40.0, 9.0);
        let found = run(&[0.0, 1.0], &[vec![partly, outside]], rule(9, 9));
        assert_eq!(found, [BBox::new(0.0, 15.0, 5.0, 20.0)]);
        let nan = f32::NAN;
        assert_eq!(run(&[nan, 1.0], &[vec![partly, outside]], rule(9, 9)), []);
        let rows = [0.0, nan, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::INFINITY, 0.0];
        let anchors = [vec![partly; 2]];
        let found = proposals(&rows, &anchors, [20, 30], &coder(), rule(9, 9));
        assert!(found.iter().all(|b| b.to_array().iter().all(|v| v.is_finite())), "{found:?}");
        assert_eq!(run(&[], &[vec![]], rule(9, 9)), []);
    }

    #[test]
    fn low_scores_can_be_left_out() {
        let a = BBox::new(0.0, 0.0, 10.0, 10.0);
        let b = BBox::new(20.0, 5.0, 28.0, 15.0);
        let rule = ProposalRule { min_score: 0.5, ..rule(9, 9) };
        assert_eq!(run(&[-0.1, 0.0], &[vec![a, b]], rule), [b]);
    }
}
