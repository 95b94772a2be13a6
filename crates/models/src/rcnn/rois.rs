//! Which regions the heads learn from, on the host.

use burn::tensor::Device;
use longtail_kernels::runs_any_shape;
use longtail_ops::{BalancedSampler, Match, Matcher, bucket};
use longtail_types::{BBox, Instance, KeyedRng};

use crate::detector_input::boxes_of;

/// Fills batches up; any box with an area would do.
const FILLER: BBox = BBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 };

/// Regions of one image, and the object that each is matched to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Regions {
    /// The regions, positives first.
    pub boxes: Vec<BBox>,
    /// Index of the object of each; `None` is background.
    pub objects: Vec<Option<usize>>,
}

impl Regions {
    /// A random choice of the proposals and the objects' own boxes, positives first.
    pub(crate) fn sample(
        mut proposals: Vec<BBox>,
        instances: &[Instance],
        matcher: Matcher,
        sampler: BalancedSampler,
        rng: &mut KeyedRng,
    ) -> Self {
        let gt_boxes = boxes_of(instances);
        proposals.extend_from_slice(&gt_boxes);
        let matches = matcher.match_boxes(&gt_boxes, &proposals);
        let sampled = sampler.sample(&matches, rng);
        let chosen = sampled.positives.iter().chain(&sampled.negatives);
        let pairs = chosen.map(|&index| (proposals[index], object_of(matches[index])));
        let (boxes, objects) = pairs.unzip();
        Self { boxes, objects }
    }

    /// All of `boxes` that have an area, matched anew: the regions of a later stage of a cascade.
    pub(crate) fn rematch(mut boxes: Vec<BBox>, instances: &[Instance], matcher: Matcher) -> Self {
        boxes.retain(|bbox| !bbox.is_empty());
        let matches = matcher.match_boxes(&boxes_of(instances), &boxes);
        Self { objects: matches.into_iter().map(object_of).collect(), boxes }
    }

    /// The regions that are objects.
    pub fn positives(&self) -> impl Iterator<Item = (BBox, usize)> + '_ {
        let pairs = self.boxes.iter().zip(&self.objects);
        pairs.filter_map(|(&bbox, &object)| Some((bbox, object?)))
    }
}

/// The regions of each image that are objects, and the labels of all of them.
pub(crate) fn positives(
    regions: &[Regions],
    targets: &[Vec<Instance>],
) -> (Vec<Vec<BBox>>, Vec<usize>) {
    let (mut boxes, mut labels) = (Vec::new(), Vec::new());
    for (regions, instances) in regions.iter().zip(targets) {
        boxes.push(regions.positives().map(|(bbox, _)| bbox).collect());
        labels.extend(regions.positives().map(|(_, object)| instances[object].label));
    }
    (boxes, labels)
}

fn object_of(matched: Match) -> Option<usize> {
    match matched {
        Match::Positive(object) => Some(object),
        Match::Negative | Match::Ignored => None,
    }
}

/// The boxes of a batch, filled up at the end of the last image: to a bucket of rows, so that a
/// device compiles few kernels, or to one row where a device runs any shape.
pub(crate) fn filled(mut boxes: Vec<Vec<BBox>>, device: &Device) -> Vec<Vec<BBox>> {
    let count: usize = boxes.iter().map(Vec::len).sum();
    let num_rows = if runs_any_shape(device) { count.max(1) } else { bucket(count) };
    if let Some(last) = boxes.last_mut() {
        last.resize(last.len() + num_rows - count, FILLER);
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::Stream;

    fn instance(label: usize, bbox: BBox) -> Instance {
        Instance { label, bbox, mask: None }
    }

    fn sample(proposals: &[BBox], instances: &[Instance], num: usize) -> Regions {
        let sampler = BalancedSampler { num, positive_fraction: 0.25 };
        let mut rng = KeyedRng::new(0, Stream::Rois, 0, 0);
        Regions::sample(proposals.into(), instances, Matcher::proposals(0.5), sampler, &mut rng)
    }

    #[test]
    fn positives_come_first_and_objects_are_proposals() {
        let [a, b] = [BBox::new(0.0, 0.0, 8.0, 8.0), BBox::new(20.0, 20.0, 40.0, 30.0)];
        let near_b = BBox::new(20.0, 20.0, 38.0, 30.0);
        let nothing = BBox::new(60.0, 60.0, 70.0, 70.0);
        let instances = [instance(3, a), instance(1, b)];
        let regions = sample(&[nothing, near_b], &instances, 100);
        assert_eq!(regions.boxes, [near_b, a, b, nothing]);
        assert_eq!(regions.objects, [Some(1), Some(0), Some(1), None]);
        let few = sample(&[nothing, near_b], &instances, 4);
        assert_eq!(few.objects.iter().flatten().count(), 1);
        assert_eq!(few.boxes.len(), 2); // one positive, one negative: there are no more
        assert_eq!(few.positives().count(), 1);
    }

    #[test]
    fn nothing_at_all() {
        assert_eq!(sample(&[], &[], 8), Regions::default());
        let nothing = BBox::new(60.0, 60.0, 70.0, 70.0);
        assert_eq!(sample(&[nothing], &[], 8).objects, [None]);
        let point = BBox::new(5.0, 5.0, 5.0, 5.0);
        let found = Regions::rematch(vec![point, nothing], &[], Matcher::proposals(0.6));
        assert_eq!(found, Regions { boxes: vec![nothing], objects: vec![None] });
    }

    #[test]
    fn batches_are_filled() {
        let device = longtail_testing::device();
        let nothing = BBox::new(60.0, 60.0, 70.0, 70.0);
        assert_eq!(filled(vec![vec![], vec![]], &device), [vec![], vec![FILLER]]);
        let five = filled(vec![vec![nothing; 5], vec![]], &device);
        let num_fillers = usize::from(!runs_any_shape(&device)); // to a bucket of six
        assert_eq!(five, [vec![nothing; 5], vec![FILLER; num_fillers]]);
        assert_eq!(filled(vec![vec![nothing; 3]], &device), [vec![nothing; 3]]);
    }
}
