//! Detections from a file, without a model.

use std::collections::HashSet;
use std::path::Path;

use super::{
    analysis::ErrorAnalysis,
    evaluator::{analyse, check_truth, evaluation},
    ground_truth::GroundTruth,
    read_results::read_results,
    report::DetectionReport,
    settings::DetectionSettings,
};
use crate::EvalError;

/// Evaluates the detections of a results file, a list of
/// `{image_id, category_id, bbox: [x, y, width, height], score, segmentation}`, all at once. The
/// numbers are those of pycocotools and lvis-api for the same two files.
///
/// Small, medium and large follow the references: if the first detection has a box, the areas of
/// the boxes decide, even of masks; a file of masks alone goes by their areas.
///
/// # Errors
/// If the file cannot be read, is cut off or no such list, or a detection has an unknown image or
/// class, no finite score, or no box or mask where one is compared; the error names the file, the
/// place and the value. Also if an object of the ground truth lacks the box or mask.
pub fn evaluate_detections(
    truth: &GroundTruth,
    detections: &Path,
    settings: &DetectionSettings,
) -> Result<DetectionReport, EvalError> {
    check_truth(truth, settings)?;
    let (found, class_counts) = read_results(truth, detections, settings.overlap)?;
    let mut evaluation = evaluation(truth, found, settings.overlap);
    evaluation.evaluate()?;
    evaluation.accumulate();
    evaluation.summarize_lines();
    let count = |label| class_counts.get(&truth.classes.id(label)?).copied();
    let counts: Vec<u64> =
        (0..truth.classes.len()).map(|label| count(label).unwrap_or_default()).collect();
    let analysis = if truth.num_images() <= settings.max_analysed_images {
        Some(ErrorAnalysis::of(&evaluation, &truth.classes)?)
    } else {
        let ids: Vec<u64> = truth.image_ids().take(settings.max_analysed_images).collect();
        let kept: HashSet<u64> = ids.iter().copied().collect();
        let found = evaluation.coco_dt().dataset.annotations.iter();
        let found = found.filter(|found| kept.contains(&found.image_id)).cloned();
        analyse(truth, &ids, found.collect(), settings.overlap)?
    };
    DetectionReport::new(truth, settings, &evaluation, &counts, analysis)
}
