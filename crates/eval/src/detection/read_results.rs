//! Detections from files in COCO's results JSON.

use std::collections::HashMap;
use std::path::Path;

use hotcoco::{Annotation, COCO, Segmentation};

use super::{
    federated,
    ground_truth::GroundTruth,
    locate::{self, bad_entry},
    settings::{Benchmark, Overlap},
};
use crate::EvalError;

/// Reads a list of `{image_id, category_id, bbox: [x, y, width, height], score, segmentation}`,
/// as the references do: if the first detection has a box, the boxes are the areas of all, else the
/// masks are. Detections beyond LVIS's cap are left out. Also returns the number of detections of
/// each class id in the file.
pub(crate) fn read_results(
    truth: &GroundTruth,
    path: &Path,
    overlap: Overlap,
) -> Result<(COCO, HashMap<u64, u64>), EvalError> {
    let text =
        std::fs::read(path).map_err(|source| EvalError::Io { path: path.to_path_buf(), source })?;
    let mut detections: Vec<Annotation> =
        serde_json::from_slice(&text).map_err(|error| explain(path, &text, &error))?;
    drop(text);
    check(truth, path, overlap, &detections)?;
    let mut counts = HashMap::new();
    detections.iter().for_each(|found| *counts.entry(found.category_id).or_default() += 1);
    if truth.benchmark == Benchmark::Lvis {
        detections = cap_each_image(detections);
    }
    Ok((truth.coco.load_res_anns(detections)?, counts))
}

fn cap_each_image(detections: Vec<Annotation>) -> Vec<Annotation> {
    let mut places = HashMap::new();
    let mut images: Vec<Vec<Annotation>> = Vec::new();
    for detection in detections {
        let place = *places.entry(detection.image_id).or_insert_with(|| {
            images.push(Vec::new());
            images.len() - 1
        });
        images[place].push(detection);
    }
    images.iter_mut().for_each(federated::cap);
    images.into_iter().flatten().collect()
}

fn explain(path: &Path, text: &[u8], error: &serde_json::Error) -> EvalError {
    let path = path.to_path_buf();
    if let Some((index, message)) = bad_entry::<Annotation>(text) {
        return EvalError::BadEntry { path, list: "detections", index, message };
    }
    let message = match text.trim_ascii_start().starts_with(b"[") {
        true => error.to_string(),
        false => {
            let (kind, shown) = (locate::kind(text), locate::shorten(text));
            format!("detections are a list of objects, this is {kind}: {shown}")
        }
    };
    EvalError::BadFile { path, message }
}

fn check(
    truth: &GroundTruth,
    path: &Path,
    overlap: Overlap,
    detections: &[Annotation],
) -> Result<(), EvalError> {
    let has_boxes = detections.first().is_some_and(|first| first.bbox.is_some());
    for (index, detection) in detections.iter().enumerate() {
        let (image_id, class_id) = (detection.image_id, detection.category_id);
        let problem = if let Some(image) = truth.coco.get_img(image_id) {
            let size = [image.height, image.width];
            class_problem(truth, class_id)
                .or_else(|| score_problem(detection.score))
                .or_else(|| box_problem(detection.bbox, has_boxes))
                .or_else(|| match (overlap, has_boxes) {
                    (Overlap::Boxes, true) => None,
                    (Overlap::Boxes, false) if detection.segmentation.is_none() => {
                        Some("`bbox` is missing".into())
                    }
                    _ => mask_problem(detection.segmentation.as_ref(), size),
                })
        } else {
            Some("`image_id` is not in the annotations".to_string())
        };
        if let Some(problem) = problem {
            let message = format!("image {image_id}, class id {class_id}: {problem}");
            let path = path.to_path_buf();
            return Err(EvalError::BadEntry { path, list: "detections", index, message });
        }
    }
    Ok(())
}

fn class_problem(truth: &GroundTruth, class_id: u64) -> Option<String> {
    let is_known = truth.coco.get_cat(class_id).is_some();
    (!is_known).then(|| "`category_id` is not in the annotations".to_string())
}

fn score_problem(score: Option<f64>) -> Option<String> {
    match score {
        None => Some("`score` is missing".into()),
        Some(score) if !score.is_finite() => Some(format!("`score` {score} is not finite")),
        Some(_) => None,
    }
}

fn box_problem(bbox: Option<[f64; 4]>, has_boxes: bool) -> Option<String> {
    match (bbox, has_boxes) {
        (None, true) => Some("`bbox` is missing, which the first detection has".into()),
        (Some(_), false) => Some("has a `bbox`, which the first detection has not".into()),
        (Some(bbox), true) if bbox[2] < 0.0 || bbox[3] < 0.0 => {
            Some(format!("`bbox` {bbox:?} has a negative size"))
        }
        _ => None,
    }
}

/// What keeps a mask from being laid on an image of `[height, width]`.
pub(crate) fn mask_problem(mask: Option<&Segmentation>, size: [u32; 2]) -> Option<String> {
    let mask = match mask {
        None => return Some("`segmentation` is missing, but masks are to be evaluated".into()),
        Some(mask) => mask,
    };
    let [height, width] = size;
    if let Some(code) = mask.rle_ref() {
        let (Segmentation::CompressedRle { size: own, .. }
        | Segmentation::UncompressedRle { size: own, .. }) = mask
        else {
            return None;
        };
        if *own != size {
            return Some(format!("its mask has size {own:?}, its image [{height}, {width}]"));
        }
        return code.area().err().map(|error| format!("its mask: {error}"));
    }
    match mask {
        Segmentation::Polygon(parts) if parts.is_empty() => Some("its mask has no polygon".into()),
        Segmentation::Polygon(parts) => {
            let bad = parts.iter().find(|part| part.len() < 6 || !part.len().is_multiple_of(2))?;
            Some(format!("a polygon of {} numbers: three points or more are needed", bad.len()))
        }
        _ => None,
    }
}
