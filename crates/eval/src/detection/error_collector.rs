//! The errors of a detector that are worth a look: the surest false detections, the objects missed.

use std::collections::BTreeMap;

use longtail_types::{BBox, Detection};

use super::{settings::Benchmark, truth_builder::AnnotatedImage};

/// A detection overlaps an object from here on, as in the kinds of errors of a report.
const OVERLAP: f32 = 0.5;
/// Below, it lies on background.
const BACKGROUND_OVERLAP: f32 = 0.1;

/// What is wrong with a false detection; the kinds of TIDE (Bolya et al., ECCV 2020,
/// <https://arxiv.org/abs/2008.08115>), looked for in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FalseKind {
    /// An object of its class is near, with an overlap of 0.1 to 0.5.
    Localization,
    /// It overlaps an object of another class by 0.5 or more.
    Classification,
    /// The object of its class that it overlaps was found with a higher score.
    Duplicate,
    /// Nothing is there: every overlap is below 0.1.
    Background,
    /// An object of another class is near, with an overlap of 0.1 to 0.5.
    ClassificationAndLocalization,
}

impl FalseKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Classification,
        Self::Localization,
        Self::Background,
        Self::Duplicate,
        Self::ClassificationAndLocalization,
    ];
}

/// A detection that is no object of its class.
#[derive(Debug, Clone, PartialEq)]
pub struct FalseDetection {
    /// The image.
    pub image_id: u64,
    /// What is wrong.
    pub kind: FalseKind,
    /// Its class.
    pub label: usize,
    /// Its score.
    pub score: f32,
    /// Its box.
    pub bbox: BBox,
    /// The object that decides about the kind, as label and box; `None` on background.
    pub object: Option<(usize, BBox)>,
    /// Overlap with that object; on background the largest overlap with any.
    pub overlap: f32,
}

/// An object that no detection of its class overlaps by 0.5.
#[derive(Debug, Clone, PartialEq)]
pub struct MissedObject {
    /// The image.
    pub image_id: u64,
    /// Its class.
    pub label: usize,
    /// Its box.
    pub bbox: BBox,
    /// The detection with the highest score among those that overlap it by 0.1 or more, and by how
    /// much: of another class, or of its own below 0.5.
    pub nearest: Option<(usize, f32, BBox, f32)>,
}

/// Looks at images one after another and keeps, of each class, a few errors of each kind.
///
/// Boxes are compared, at an overlap of 0.5. What the benchmark ignores is no error: crowd regions
/// of COCO, classes of LVIS that are not checked in an image or not annotated to the last.
#[derive(Debug, Clone)]
pub struct ErrorCollector {
    benchmark: Benchmark,
    per_class: usize,
    false_detections: BTreeMap<(FalseKind, usize), Vec<FalseDetection>>,
    missed: BTreeMap<usize, Vec<MissedObject>>,
    num_false: BTreeMap<FalseKind, u64>,
    num_missed: u64,
}

impl ErrorCollector {
    /// Keeps up to `per_class` errors of each kind and class.
    pub fn new(benchmark: Benchmark, per_class: usize) -> Self {
        Self {
            benchmark,
            per_class,
            false_detections: BTreeMap::new(),
            missed: BTreeMap::new(),
            num_false: BTreeMap::new(),
            num_missed: 0,
        }
    }

    /// Takes one image with all that was found in it, in the same pixels.
    pub fn add_image(&mut self, truth: &AnnotatedImage, found: &[Detection]) {
        let mut order: Vec<&Detection> = found.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut is_found = vec![false; truth.objects.len()];
        for detection in order {
            match self.judge(truth, detection, &is_found) {
                Verdict::Right(object) => is_found[object] = true,
                Verdict::Ignored => {}
                Verdict::False(error) => {
                    *self.num_false.entry(error.kind).or_default() += 1;
                    let kept = self.false_detections.entry((error.kind, error.label)).or_default();
                    kept.push(error);
                    // Stable: of equal scores the first stays.
                    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
                    kept.truncate(self.per_class);
                }
            }
        }
        for (object, _) in truth.objects.iter().zip(&is_found).filter(|(_, found)| !**found) {
            if self.benchmark == Benchmark::Coco && object.is_crowd {
                continue;
            }
            let (label, bbox) = (object.instance.label, object.instance.bbox);
            let near = found.iter().map(|one| (one, one.bbox.iou(bbox)));
            let near = near.filter(|(_, overlap)| *overlap >= BACKGROUND_OVERLAP);
            let nearest = near.max_by(|(a, _), (b, _)| a.score.total_cmp(&b.score));
            let nearest = nearest.map(|(one, overlap)| (one.label, one.score, one.bbox, overlap));
            self.num_missed += 1;
            let kept = self.missed.entry(label).or_default();
            kept.push(MissedObject { image_id: truth.id, label, bbox, nearest });
            kept.sort_by(|a, b| b.bbox.area().total_cmp(&a.bbox.area()));
            kept.truncate(self.per_class);
        }
    }

    fn judge(&self, truth: &AnnotatedImage, found: &Detection, is_found: &[bool]) -> Verdict {
        let label = found.label;
        let objects = || {
            truth
                .objects
                .iter()
                .enumerate()
                .map(|(index, object)| (index, object, found.bbox.iou(object.instance.bbox)))
        };
        let is_crowd = |crowd: bool| crowd && self.benchmark == Benchmark::Coco;
        let own = || {
            objects().filter(|(_, object, _)| {
                object.instance.label == label && !is_crowd(object.is_crowd)
            })
        };
        let best = |a: &f32, b: &f32| a.total_cmp(b);
        let free = own().filter(|&(index, _, overlap)| overlap >= OVERLAP && !is_found[index]);
        if let Some((index, ..)) = free.max_by(|a, b| best(&a.2, &b.2)) {
            return Verdict::Right(index);
        }
        if self.is_ignored(truth, found, own().next().is_some()) {
            return Verdict::Ignored;
        }
        let others = || {
            objects().filter(|(_, object, _)| {
                object.instance.label != label && !is_crowd(object.is_crowd)
            })
        };
        let nearest_own = own().max_by(|a, b| best(&a.2, &b.2));
        let nearest_other = others().max_by(|a, b| best(&a.2, &b.2));
        let own_overlap = nearest_own.map_or(0.0, |near| near.2);
        let other_overlap = nearest_other.map_or(0.0, |near| near.2);
        let (kind, near) = if (BACKGROUND_OVERLAP..OVERLAP).contains(&own_overlap) {
            (FalseKind::Localization, nearest_own)
        } else if other_overlap >= OVERLAP {
            (FalseKind::Classification, nearest_other)
        } else if own_overlap >= OVERLAP {
            (FalseKind::Duplicate, nearest_own)
        } else if own_overlap.max(other_overlap) < BACKGROUND_OVERLAP {
            (FalseKind::Background, None)
        } else {
            (FalseKind::ClassificationAndLocalization, nearest_other)
        };
        Verdict::False(FalseDetection {
            image_id: truth.id,
            kind,
            label,
            score: found.score,
            bbox: found.bbox,
            object: near.map(|(_, object, _)| (object.instance.label, object.instance.bbox)),
            overlap: near.map_or(own_overlap.max(other_overlap), |near| near.2),
        })
    }

    /// Whether the benchmark does not count a detection that found nothing.
    fn is_ignored(&self, truth: &AnnotatedImage, found: &Detection, is_present: bool) -> bool {
        match self.benchmark {
            Benchmark::Lvis => {
                let is_checked = is_present || truth.negative.contains(&found.label);
                !is_checked || truth.not_exhaustive.contains(&found.label)
            }
            Benchmark::Coco => truth.objects.iter().any(|object| {
                object.is_crowd
                    && object.instance.label == found.label
                    && covered(found.bbox, object.instance.bbox) >= OVERLAP
            }),
        }
    }

    /// False detections of a kind: how many there were, and those with the highest scores.
    pub fn false_detections(&self, kind: FalseKind, limit: usize) -> (u64, Vec<&FalseDetection>) {
        let kept = self.false_detections.iter().filter(|((of, _), _)| *of == kind);
        let mut kept: Vec<&FalseDetection> = kept.flat_map(|(_, errors)| errors).collect();
        kept.sort_by(|a, b| b.score.total_cmp(&a.score));
        kept.truncate(limit);
        (self.num_false.get(&kind).copied().unwrap_or_default(), kept)
    }

    /// Objects missed: how many there were, and the largest of each class, class by class in the
    /// order of `labels`.
    pub fn missed(&self, labels: &[usize], limit: usize) -> (u64, Vec<&MissedObject>) {
        let kept = labels.iter().filter_map(|label| self.missed.get(label));
        (self.num_missed, kept.flatten().take(limit).collect())
    }
}

enum Verdict {
    /// It finds the object of this index.
    Right(usize),
    Ignored,
    False(FalseDetection),
}

/// Share of a box that lies inside another.
fn covered(bbox: BBox, region: BBox) -> f32 {
    let width = bbox.x2.min(region.x2) - bbox.x1.max(region.x1);
    let height = bbox.y2.min(region.y2) - bbox.y1.max(region.y1);
    let area = bbox.area();
    if area > 0.0 { width.max(0.0) * height.max(0.0) / area } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AnnotatedObject;
    use longtail_types::Instance;

    fn object(label: usize, bbox: [f32; 4]) -> AnnotatedObject {
        Instance { label, bbox: bbox.into(), mask: None }.into()
    }

    fn found(label: usize, score: f32, bbox: [f32; 4]) -> Detection {
        Detection { label, score, bbox: bbox.into(), mask: None }
    }

    fn image(objects: Vec<AnnotatedObject>) -> AnnotatedImage {
        AnnotatedImage { id: 7, size: [100, 100], objects, ..Default::default() }
    }

    /// Each detection lies as its comment says; overlaps by hand.
    #[test]
    fn every_kind_is_told_apart() {
        let mut collector = ErrorCollector::new(Benchmark::Coco, 3);
        let truth = image(vec![
            object(0, [0.0, 0.0, 40.0, 40.0]),
            object(1, [60.0, 0.0, 100.0, 40.0]),
            object(2, [60.0, 60.0, 100.0, 100.0]),
        ]);
        let detections = [
            found(0, 0.9, [0.0, 0.0, 40.0, 40.0]),     // right
            found(0, 0.8, [0.0, 0.0, 40.0, 38.0]),     // duplicate: 0.95
            found(0, 0.7, [20.0, 0.0, 60.0, 40.0]),    // localization: 800 / 2400
            found(0, 0.6, [60.0, 0.0, 100.0, 40.0]),   // classification: label 1
            found(0, 0.5, [0.0, 60.0, 40.0, 100.0]),   // background
            found(0, 0.4, [60.0, 75.0, 100.0, 115.0]), // class 2, 1000 / 2200: both
        ];
        collector.add_image(&truth, &detections);
        let kinds = FalseKind::ALL.map(|kind| {
            let (count, errors) = collector.false_detections(kind, 10);
            (count, errors.first().map(|error| (error.score, error.object.map(|one| one.0))))
        });
        let expected = [
            (1, Some((0.6, Some(1)))),
            (1, Some((0.7, Some(0)))),
            (1, Some((0.5, None))),
            (1, Some((0.8, Some(0)))),
            (1, Some((0.4, Some(2)))),
        ];
        assert_eq!(kinds, expected);
        let (count, missed) = collector.missed(&[2, 1, 0], 10);
        assert_eq!(
            (count, missed.iter().map(|one| one.label).collect::<Vec<_>>()),
            (2, vec![2, 1])
        );
        // The wrong class on top of object 1, the shifted box on object 2.
        let nearest = missed.iter().map(|one| one.nearest.map(|near| (near.0, near.1)));
        assert_eq!(nearest.collect::<Vec<_>>(), [Some((0, 0.4)), Some((0, 0.6))]);
    }

    #[test]
    fn what_a_benchmark_ignores_is_no_error() {
        let crowd = AnnotatedObject { is_crowd: true, ..object(0, [0.0, 0.0, 100.0, 100.0]) };
        let detections = [found(0, 0.9, [10.0, 10.0, 20.0, 20.0]), found(1, 0.8, [5.0; 4])];
        let mut coco = ErrorCollector::new(Benchmark::Coco, 3);
        coco.add_image(&image(vec![crowd.clone()]), &detections);
        assert_eq!(coco.false_detections(FalseKind::Background, 9).0, 1); // class 1 alone
        assert_eq!(coco.missed(&[0, 1], 9).0, 0);

        let lvis = |negative: &[usize], not_exhaustive: &[usize]| {
            let mut lvis = ErrorCollector::new(Benchmark::Lvis, 3);
            let (negative, not_exhaustive) = (negative.to_vec(), not_exhaustive.to_vec());
            lvis.add_image(
                &AnnotatedImage { negative, not_exhaustive, ..image(vec![]) },
                &detections,
            );
            lvis.false_detections(FalseKind::Background, 9).0
        };
        assert_eq!((lvis(&[], &[]), lvis(&[1], &[]), lvis(&[0, 1], &[0])), (0, 1, 1));
    }

    #[test]
    fn few_of_each_class_are_kept_and_all_are_counted() {
        let mut collector = ErrorCollector::new(Benchmark::Coco, 2);
        for score in [0.3, 0.9, 0.5, 0.7] {
            let detections = [found(0, score, [0.0, 0.0, 9.0, 9.0]), found(1, 0.1, [50.0; 4])];
            collector.add_image(&image(vec![]), &detections);
        }
        let (count, errors) = collector.false_detections(FalseKind::Background, 9);
        let scores: Vec<f32> = errors.iter().map(|error| error.score).collect();
        assert_eq!((count, scores), (8, vec![0.9, 0.7, 0.1, 0.1]));
    }
}
