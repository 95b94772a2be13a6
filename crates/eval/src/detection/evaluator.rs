//! Detections, one image after another.

use std::collections::HashSet;
use std::sync::Arc;

use hotcoco::{Annotation, COCO, COCOeval, Dataset, EvalMode, IouType, StreamingEval};
use longtail_types::Detection;

use super::{
    analysis::ErrorAnalysis,
    federated,
    ground_truth::GroundTruth,
    mask_code::encode_mask,
    read_results::mask_problem,
    report::DetectionReport,
    settings::{Benchmark, DetectionSettings, Overlap},
    truth_builder::coco_box,
};
use crate::EvalError;

/// Images without detections are matched in groups of this many.
const CHUNK: usize = 256;

/// Something that measures detections as they come.
pub trait DetectionEvaluator {
    /// Takes all detections of one image, in its original pixels. An image that is refused changes
    /// nothing. An empty list says that nothing was found.
    ///
    /// # Errors
    /// If the image is unknown or came before, or if a label, score, box or mask cannot be used.
    fn add_image(&mut self, image_id: u64, detections: &[Detection]) -> Result<(), EvalError>;

    /// The numbers. Images that were never added count as images without detections.
    ///
    /// # Errors
    /// If the analysis of errors fails.
    fn finish(self) -> Result<DetectionReport, EvalError>
    where
        Self: Sized;
}

/// Evaluates by the rules of COCO or LVIS with hotcoco while the detections come in: each image is
/// matched at once, and about 20 bytes of each detection are kept.
///
/// Of masks, the area of the mask decides small, medium and large, as in Detectron2 and torchvision.
///
/// ```
/// use longtail_eval::{
///     AnnotatedImage, Benchmark, DetectionEvaluator, DetectionSettings, GroundTruth, Overlap,
///     StreamingEvaluator,
/// };
/// use longtail_types::{BBox, ClassMap, Detection, Instance};
///
/// let bbox = BBox::new(10.0, 10.0, 60.0, 50.0);
/// let owl = Instance { label: 0, bbox, mask: None };
/// let mut truth = GroundTruth::builder(ClassMap::from_names(["owl", "wren"])?, Benchmark::Coco);
/// let objects = vec![owl.into()];
/// truth.add_image(&AnnotatedImage { id: 7, size: [80, 100], objects, ..Default::default() })?;
///
/// let settings = DetectionSettings::new("baseline", Overlap::Boxes);
/// let mut evaluator = StreamingEvaluator::new(truth.build()?, settings)?;
/// evaluator.add_image(7, &[Detection { label: 0, score: 0.9, bbox, mask: None }])?;
/// let report = evaluator.finish()?;
/// assert!(report.metrics.ap.is_some_and(|ap| ap > 0.999));
/// assert_eq!(report.classes[1].ap, None); // no wren to be found
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamingEvaluator {
    truth: GroundTruth,
    settings: DetectionSettings,
    streaming: StreamingEval,
    seen: HashSet<u64>,
    /// Detections of each class.
    counts: Vec<u64>,
    /// Images to be analysed, and their detections.
    analysed: (Vec<u64>, Vec<Annotation>),
}

impl StreamingEvaluator {
    /// An evaluator that has seen no image.
    ///
    /// # Errors
    /// If an object of the ground truth lacks the box or mask that is to be compared, or if the
    /// training counts are of another number of classes.
    pub fn new(truth: GroundTruth, settings: DetectionSettings) -> Result<Self, EvalError> {
        check_truth(&truth, &settings)?;
        let mode = mode(truth.benchmark);
        let params = mode.default_params(iou_type(settings.overlap));
        let categories = truth.coco.dataset.categories.clone();
        let streaming = StreamingEval::new(params, mode, categories)?;
        let counts = vec![0; truth.classes.len()];
        let seen = HashSet::new();
        Ok(Self { truth, settings, streaming, seen, counts, analysed: Default::default() })
    }

    /// The ground truth.
    pub fn truth(&self) -> &GroundTruth {
        &self.truth
    }

    /// Number of images added.
    pub fn num_images(&self) -> usize {
        self.seen.len()
    }

    fn match_images(&mut self, ids: &[u64], found: Vec<Annotation>) -> Result<(), EvalError> {
        let images = ids.iter().filter_map(|&id| self.truth.coco.get_img(id).cloned()).collect();
        let objects = ids.iter().flat_map(|&id| self.truth.objects(id)).collect();
        Ok(self.streaming.update(images, objects, found)?)
    }

    fn keep(&mut self, ids: &[u64], found: &[Annotation]) {
        let room = self.settings.max_analysed_images - self.analysed.0.len();
        let kept = &ids[..ids.len().min(room)];
        self.analysed.0.extend_from_slice(kept);
        self.analysed.1.extend(found.iter().filter(|one| kept.contains(&one.image_id)).cloned());
    }

    fn record(&self, image_id: u64, found: &Detection) -> Result<Annotation, String> {
        let num_classes = self.truth.classes.len();
        let class_id = self.truth.classes.id(found.label);
        let class_id =
            class_id.ok_or_else(|| format!("label {} is outside 0..{num_classes}", found.label))?;
        if !found.score.is_finite() {
            return Err(format!("its score {} is not finite", found.score));
        }
        let bbox = coco_box(found.bbox)?;
        let mut record = Annotation {
            image_id,
            category_id: class_id,
            score: Some(f64::from(found.score)),
            ..Default::default()
        };
        match self.settings.overlap {
            Overlap::Boxes => record.bbox = Some(bbox),
            Overlap::Masks => {
                let image = self.truth.coco.get_img(image_id);
                let size = image.map(|image| [image.height, image.width]).unwrap_or_default();
                let mask = found.mask.as_ref().ok_or("it has no mask, but masks are evaluated")?;
                record.segmentation = Some(encode_mask(mask, size)?);
            }
        }
        Ok(record)
    }

    fn analyse(&mut self) -> Result<Option<ErrorAnalysis>, EvalError> {
        let (ids, found) = std::mem::take(&mut self.analysed);
        analyse(&self.truth, &ids, found, self.settings.overlap)
    }
}

impl DetectionEvaluator for StreamingEvaluator {
    fn add_image(&mut self, image_id: u64, detections: &[Detection]) -> Result<(), EvalError> {
        if self.truth.coco.get_img(image_id).is_none() {
            return Err(EvalError::UnknownImage { image_id });
        }
        if self.seen.contains(&image_id) {
            return Err(EvalError::ImageTwice { image_id });
        }
        let records = detections.iter().enumerate().map(|(index, found)| {
            let bad = |message| EvalError::BadDetection { image_id, index, message };
            self.record(image_id, found).map_err(bad)
        });
        let mut records: Vec<Annotation> = records.collect::<Result<_, _>>()?;
        if self.truth.benchmark == Benchmark::Lvis {
            federated::cap(&mut records);
        }
        self.seen.insert(image_id);
        detections.iter().for_each(|found| self.counts[found.label] += 1);
        self.keep(&[image_id], &records);
        self.match_images(&[image_id], records)
    }

    fn finish(mut self) -> Result<DetectionReport, EvalError> {
        let unseen = self.truth.image_ids().filter(|id| !self.seen.contains(id));
        let unseen: Vec<u64> = unseen.collect();
        for ids in unseen.chunks(CHUNK) {
            self.keep(ids, &[]);
            self.match_images(ids, Vec::new())?;
        }
        let analysis = self.analyse()?;
        let Self { truth, settings, streaming, counts, .. } = self;
        let mut evaluation = streaming.finalize();
        evaluation.accumulate();
        evaluation.summarize_lines();
        DetectionReport::new(&truth, &settings, &evaluation, &counts, analysis)
    }
}

pub(crate) fn mode(benchmark: Benchmark) -> EvalMode {
    match benchmark {
        Benchmark::Coco => EvalMode::Coco,
        Benchmark::Lvis => EvalMode::Lvis,
    }
}

pub(crate) fn iou_type(overlap: Overlap) -> IouType {
    match overlap {
        Overlap::Boxes => IouType::Bbox,
        Overlap::Masks => IouType::Segm,
    }
}

/// All images at once.
pub(crate) fn evaluation(truth: &GroundTruth, found: COCO, overlap: Overlap) -> COCOeval {
    let objects = Arc::clone(&truth.coco);
    match truth.benchmark {
        Benchmark::Coco => COCOeval::new(objects, found, iou_type(overlap)),
        Benchmark::Lvis => COCOeval::new_lvis(objects, found, iou_type(overlap)),
    }
}

/// Kinds of errors on some images; `None` without an image.
pub(crate) fn analyse(
    truth: &GroundTruth,
    ids: &[u64],
    found: Vec<Annotation>,
    overlap: Overlap,
) -> Result<Option<ErrorAnalysis>, EvalError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let truth = truth.subset(ids)?;
    let found = truth.coco.load_res_anns(found)?;
    let mut evaluation = evaluation(&truth, found, overlap);
    evaluation.evaluate()?;
    ErrorAnalysis::of(&evaluation, &truth.classes).map(Some)
}

pub(crate) fn check_truth(
    truth: &GroundTruth,
    settings: &DetectionSettings,
) -> Result<(), EvalError> {
    if let Some(training) = &settings.training {
        let (found, expected) = (training.counts.num_classes(), truth.classes.len());
        if found != expected {
            return Err(EvalError::TrainingClasses { found, expected });
        }
    }
    let Dataset { annotations, .. } = &truth.coco.dataset;
    for object in annotations {
        let image_id = object.image_id;
        let image = truth.coco.get_img(image_id);
        let size = image.map(|image| [image.height, image.width]).unwrap_or_default();
        let problem = match settings.overlap {
            Overlap::Boxes if object.bbox.is_none() => Some("`bbox` is missing".to_string()),
            Overlap::Boxes => None,
            Overlap::Masks => mask_problem(object.segmentation.as_ref(), size),
        };
        if let Some(problem) = problem {
            let message = format!("annotation {}: {problem}", object.id);
            return Err(EvalError::BadTruth { image_id, message });
        }
    }
    Ok(())
}
