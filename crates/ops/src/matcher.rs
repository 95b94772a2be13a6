//! Which object each anchor or proposal answers for.

use longtail_types::BBox;
use rayon::prelude::*;

/// What a box is matched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The object of this index.
    Positive(usize),
    /// Background.
    Negative,
    /// Between the two: left out of the losses.
    Ignored,
}

/// Matches boxes to objects by intersection over union (IoU).
///
/// The best object of a box is the first with the largest IoU: positive from `high` on, negative
/// below `low`, ignored between them. Semantics of torchvision's `Matcher`, with one exception: an
/// object that overlaps no box at all makes no box positive, where torchvision would make all of
/// them positive that overlap nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matcher {
    /// IoU from which a box is positive.
    pub high: f32,
    /// IoU below which a box is negative.
    pub low: f32,
    /// Whether the boxes that overlap an object most, with ties, are positive at any IoU. They are
    /// matched to the object that overlaps *them* most, which may be another one.
    pub allow_low_quality: bool,
}

/// Boxes handled together; an object that lies beside all of them costs one comparison.
const CHUNK: usize = 512;

impl Matcher {
    /// For anchors of a region proposal network: 0.7, 0.3, low quality allowed.
    pub fn rpn() -> Self {
        Self { high: 0.7, low: 0.3, allow_low_quality: true }
    }

    /// For anchors of RetinaNet: 0.5, 0.4, low quality allowed.
    pub fn retinanet() -> Self {
        Self { high: 0.5, low: 0.4, allow_low_quality: true }
    }

    /// For proposals of a box head: positive from `iou` on, else negative.
    pub fn proposals(iou: f32) -> Self {
        Self { high: iou, low: iou, allow_low_quality: false }
    }

    /// What each of `boxes` is matched to; all are negative without objects.
    pub fn match_boxes(&self, gt: &[BBox], boxes: &[BBox]) -> Vec<Match> {
        if gt.is_empty() {
            return vec![Match::Negative; boxes.len()];
        }
        let chunks: Vec<Chunk> =
            boxes.par_chunks(CHUNK).map(|boxes| Chunk::new(gt, boxes)).collect();
        let mut matches: Vec<Match> = Vec::with_capacity(boxes.len());
        for chunk in &chunks {
            matches.extend(chunk.best.iter().zip(&chunk.best_gt).map(|(&iou, &gt)| {
                if iou >= self.high && iou >= self.low {
                    Match::Positive(gt as usize)
                } else if iou >= self.low {
                    Match::Ignored
                } else {
                    Match::Negative
                }
            }));
        }
        if self.allow_low_quality {
            for (index, object) in gt.iter().enumerate() {
                let peak = |chunk: &Chunk| chunk.peaks[index];
                let highest = chunks.iter().map(peak).fold(0.0, f32::max);
                let holds_it = |chunk: &Chunk| highest > 0.0 && peak(chunk) == highest;
                for (chunk, start) in chunks.iter().zip((0..).step_by(CHUNK)) {
                    if !holds_it(chunk) {
                        continue;
                    }
                    for (offset, &gt) in chunk.best_gt.iter().enumerate() {
                        if object.iou(boxes[start + offset]) == highest {
                            matches[start + offset] = Match::Positive(gt as usize);
                        }
                    }
                }
            }
        }
        matches
    }
}

/// Best matches of consecutive boxes.
struct Chunk {
    /// Largest IoU of each box, and the first object that has it.
    best: Vec<f32>,
    best_gt: Vec<u32>,
    /// Largest IoU of each object in this chunk.
    peaks: Vec<f32>,
}

impl Chunk {
    fn new(gt: &[BBox], boxes: &[BBox]) -> Self {
        let column = |value: fn(&BBox) -> f32| -> Vec<f32> { boxes.iter().map(value).collect() };
        let [x1, y1, x2, y2] =
            [column(|b| b.x1), column(|b| b.y1), column(|b| b.x2), column(|b| b.y2)];
        let area = column(|b| b.area());
        let around = BBox {
            x1: x1.iter().copied().fold(f32::INFINITY, f32::min),
            y1: y1.iter().copied().fold(f32::INFINITY, f32::min),
            x2: x2.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            y2: y2.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        };
        let mut best = vec![0.0_f32; boxes.len()];
        let mut best_gt = vec![0_u32; boxes.len()];
        let mut overlap = vec![0.0_f32; boxes.len()];
        let peaks = gt.iter().enumerate().map(|(index, object)| {
            let is_beside = object.x2 <= around.x1
                || object.x1 >= around.x2
                || object.y2 <= around.y1
                || object.y1 >= around.y2;
            if is_beside {
                return 0.0;
            }
            let own_area = object.area();
            // The arithmetic of `BBox::iou`, over columns.
            let boxes = x1.iter().zip(&y1).zip(&x2).zip(&y2).zip(&area);
            for (to, ((((x1, y1), x2), y2), area)) in overlap.iter_mut().zip(boxes) {
                let width = (object.x2.min(*x2) - object.x1.max(*x1)).max(0.0);
                let height = (object.y2.min(*y2) - object.y1.max(*y1)).max(0.0);
                let intersection = width * height;
                let union = own_area + area - intersection;
                *to = if union > 0.0 { intersection / union } else { 0.0 };
            }
            for ((best, best_gt), &iou) in best.iter_mut().zip(&mut best_gt).zip(&overlap) {
                let is_better = iou > *best;
                *best = if is_better { iou } else { *best };
                *best_gt = if is_better { index as u32 } else { *best_gt };
            }
            overlap.iter().copied().fold(0.0, f32::max)
        });
        let peaks = peaks.collect();
        Self { best, best_gt, peaks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::{KeyedRng, Stream};

    /// Word for word what torchvision's `Matcher` does with the whole matrix.
    fn reference(matcher: &Matcher, gt: &[BBox], boxes: &[BBox]) -> Vec<Match> {
        let quality: Vec<Vec<f32>> =
            gt.iter().map(|g| boxes.iter().map(|b| g.iou(*b)).collect()).collect();
        let mut all = Vec::new();
        let mut matches = Vec::new();
        for index in 0..boxes.len() {
            let (mut best, mut which) = (quality[0][index], 0);
            for (object, row) in quality.iter().enumerate() {
                if row[index] > best {
                    (best, which) = (row[index], object);
                }
            }
            all.push(which);
            matches.push(if best < matcher.low {
                Match::Negative
            } else if best < matcher.high {
                Match::Ignored
            } else {
                Match::Positive(which)
            });
        }
        if matcher.allow_low_quality {
            for row in &quality {
                let highest = row.iter().copied().fold(0.0, f32::max);
                for (index, &value) in row.iter().enumerate() {
                    if value == highest && highest > 0.0 {
                        matches[index] = Match::Positive(all[index]);
                    }
                }
            }
        }
        matches
    }

    #[test]
    fn same_as_the_whole_matrix() {
        let mut rng = KeyedRng::new(11, Stream::Synthetic, 0, 0);
        let mut kinds = [0; 3];
        for round in 0..60 {
            // Coarse coordinates make ties.
            let step = if round % 2 == 0 { 8.0 } else { 1.0 };
            let mut random = |count: usize| -> Vec<BBox> {
                let mut at = |most: f64| ((rng.uniform(0.0, most) / step).floor() * step) as f32;
                let boxes = (0..count).map(|_| [at(120.0), at(120.0), at(48.0), at(48.0)]);
                boxes.map(BBox::from_xywh).collect()
            };
            let gt = random(1 + round % 7);
            let boxes = random([1, 40, CHUNK, 3 * CHUNK + 7][round % 4]);
            let loose = Matcher { high: 0.4, low: 0.1, allow_low_quality: true };
            for matcher in [Matcher::rpn(), Matcher::proposals(0.5), loose] {
                let matches = matcher.match_boxes(&gt, &boxes);
                assert_eq!(matches, reference(&matcher, &gt, &boxes), "{round} {matcher:?}");
                for kind in matches {
                    kinds[match kind {
                        Match::Positive(_) => 0,
                        Match::Negative => 1,
                        Match::Ignored => 2,
                    }] += 1;
                }
            }
        }
        assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
    }

    #[test]
    fn ties_and_low_quality_by_hand() {
        let gt = [BBox::new(0.0, 0.0, 10.0, 10.0), BBox::new(0.0, 0.0, 10.0, 10.0)];
        let boxes = [gt[0], BBox::new(0.0, 0.0, 10.0, 4.0), BBox::new(50.0, 0.0, 60.0, 10.0)];
        let matcher = Matcher { high: 0.7, low: 0.3, allow_low_quality: false };
        let expected = [Match::Positive(0), Match::Ignored, Match::Negative];
        assert_eq!(matcher.match_boxes(&gt, &boxes), expected);
        // The only box on the second object is closer to the first one.
        let gt = [gt[0], BBox::new(8.0, 0.0, 20.0, 10.0)];
        let boxes = [BBox::new(1.0, 0.0, 11.0, 10.0), BBox::new(0.0, 0.0, 10.0, 10.0)];
        let matches = Matcher { high: 0.95, ..Matcher::rpn() }.match_boxes(&gt, &boxes);
        assert_eq!(matches, [Match::Positive(0), Match::Positive(0)]);
    }

    #[test]
    fn nothing_to_match() {
        let boxes = [BBox::new(0.0, 0.0, 1.0, 1.0); 3];
        let beside = [BBox::new(100.0, 100.0, 110.0, 110.0), BBox::default()];
        let broken = [BBox::new(f32::NAN, 0.0, 1.0, 1.0)];
        for gt in [&[][..], &beside, &broken] {
            assert_eq!(Matcher::rpn().match_boxes(gt, &boxes), [Match::Negative; 3]);
        }
        assert!(Matcher::rpn().match_boxes(&boxes, &[]).is_empty());
    }
}
