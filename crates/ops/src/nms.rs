//! Non-maximum suppression.

use std::cmp::Ordering;

use longtail_types::BBox;
use rayon::prelude::*;

/// Indices of the boxes that no better box of a higher score overlaps by more than
/// `iou_threshold`, by descending score.
///
/// Of equal scores the earlier box comes first; a score that is no number comes last. As
/// torchvision's `nms` otherwise.
/// # Panics
/// If there are more or fewer scores than boxes.
pub fn nms(boxes: &[BBox], scores: &[f32], iou_threshold: f32) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "one score per box");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_unstable_by(|&a, &b| by_score(scores, a, b));
    keep(boxes, &order, iou_threshold)
}

/// [`nms`] within each group: boxes of different groups, such as classes or levels, do not suppress
/// each other. The kept indices of all groups come by descending score.
/// # Panics
/// If there are more or fewer scores or groups than boxes.
pub fn batched_nms(
    boxes: &[BBox],
    scores: &[f32],
    groups: &[u32],
    iou_threshold: f32,
) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "one score per box");
    assert_eq!(boxes.len(), groups.len(), "one group per box");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.par_sort_unstable_by(|&a, &b| {
        groups[a].cmp(&groups[b]).then_with(|| by_score(scores, a, b))
    });
    let parts: Vec<&[usize]> = order.chunk_by(|&a, &b| groups[a] == groups[b]).collect();
    let mut kept: Vec<usize> =
        parts.par_iter().flat_map_iter(|order| keep(boxes, order, iou_threshold)).collect();
    kept.par_sort_unstable_by(|&a, &b| by_score(scores, a, b));
    kept
}

/// Higher scores first, then lower indices; what is no number last.
fn by_score(scores: &[f32], a: usize, b: usize) -> Ordering {
    let rank = |index: usize| scores[index].is_nan();
    let descending = scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal);
    rank(a).cmp(&rank(b)).then(descending).then(a.cmp(&b))
}

/// Boxes compared at a time.
const LANES: usize = 8;

/// Columns of the boxes kept so far, filled up to full vectors with NaN, which is above nothing.
#[derive(Default)]
struct Kept {
    blocks: Vec<[[f32; LANES]; 5]>,
    len: usize,
}

impl Kept {
    fn push(&mut self, bbox: BBox) {
        let lane = self.len % LANES;
        if lane == 0 {
            self.blocks.push([[f32::NAN; LANES]; 5]);
        }
        self.len += 1;
        if let Some(block) = self.blocks.last_mut() {
            let values = [bbox.x1, bbox.y1, bbox.x2, bbox.y2, bbox.area()];
            block.iter_mut().zip(values).for_each(|(column, value)| column[lane] = value);
        }
    }

    fn overlaps(&self, bbox: BBox, iou_threshold: f32) -> bool {
        let area = bbox.area();
        self.blocks.iter().any(|[x1, y1, x2, y2, areas]| {
            let mut is_over = [false; LANES];
            for lane in 0..LANES {
                let width = (x2[lane].min(bbox.x2) - x1[lane].max(bbox.x1)).max(0.0);
                let height = (y2[lane].min(bbox.y2) - y1[lane].max(bbox.y1)).max(0.0);
                let intersection = width * height;
                // An empty union divides 0 by 0, which is more than nothing.
                is_over[lane] = intersection / (areas[lane] + area - intersection) > iou_threshold;
            }
            is_over.contains(&true)
        })
    }
}

/// Those of `order` that no earlier kept one suppresses.
fn keep(boxes: &[BBox], order: &[usize], iou_threshold: f32) -> Vec<usize> {
    let mut kept = Kept::default();
    let mut indices = Vec::new();
    for &index in order {
        if !kept.overlaps(boxes[index], iou_threshold) {
            kept.push(boxes[index]);
            indices.push(index);
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::{KeyedRng, Stream};

    /// All pairs, one after the other.
    fn reference(boxes: &[BBox], scores: &[f32], groups: &[u32], threshold: f32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap()); // stable
        let mut is_suppressed = vec![false; boxes.len()];
        let mut kept = Vec::new();
        for (rank, &a) in order.iter().enumerate() {
            if is_suppressed[a] {
                continue;
            }
            kept.push(a);
            for &b in &order[rank + 1..] {
                if groups[a] == groups[b] && boxes[a].iou(boxes[b]) > threshold {
                    is_suppressed[b] = true;
                }
            }
        }
        kept
    }

    #[test]
    fn same_as_all_pairs_with_ties() {
        let mut rng = KeyedRng::new(3, Stream::Synthetic, 0, 0);
        let mut suppressed = 0;
        for round in 0..80 {
            let count = [0, 1, 7, 8, 9, 150, 400][round % 7];
            let mut at = |most: f64| rng.uniform(0.0, most).floor() as f32;
            let boxes: Vec<BBox> = (0..count)
                .map(|_| BBox::from_xywh([at(60.0), at(60.0), at(40.0), at(40.0)]))
                .collect();
            let scores: Vec<f32> = (0..count).map(|_| at(20.0) / 20.0).collect(); // many ties
            let groups: Vec<u32> = (0..count).map(|_| at(4.0) as u32 * 7).collect();
            for threshold in [0.0, 0.3, 0.5, 1.0] {
                let expected = reference(&boxes, &scores, &groups, threshold);
                assert_eq!(batched_nms(&boxes, &scores, &groups, threshold), expected);
                let expected = reference(&boxes, &scores, &vec![0; count], threshold);
                assert_eq!(nms(&boxes, &scores, threshold), expected);
                suppressed += count - expected.len();
            }
        }
        assert!(suppressed > 1000);
    }

    #[test]
    fn overlap_of_exactly_the_threshold_stays() {
        let boxes = [BBox::new(0.0, 0.0, 4.0, 2.0), BBox::new(0.0, 0.0, 4.0, 1.0)];
        assert_eq!(nms(&boxes, &[0.1, 0.9], 0.5), [1, 0]);
        assert_eq!(nms(&boxes, &[0.1, 0.9], 0.49), [1]);
    }

    #[test]
    fn odd_boxes_and_scores() {
        let point = BBox::new(3.0, 3.0, 3.0, 3.0);
        let broken = BBox::new(f32::NAN, 0.0, 1.0, 1.0);
        let turned = BBox::new(5.0, 5.0, 1.0, 1.0);
        let boxes = [point, point, broken, broken, turned, turned];
        let scores = [0.5, f32::NAN, 0.7, f32::NEG_INFINITY, f32::INFINITY, 0.5];
        assert_eq!(nms(&boxes, &scores, 0.5), [4, 2, 0, 5, 3, 1]);
        assert!(nms(&[], &[], 0.5).is_empty());
    }
}
