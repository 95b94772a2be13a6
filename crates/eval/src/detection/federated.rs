//! Where lvis-api departs from COCO in what it reads, and hotcoco does not.

use std::cmp::Ordering;

use hotcoco::Annotation;

/// Detections that LVIS keeps of an image, over all classes.
pub(crate) const MAX_DETECTIONS: usize = 300;

/// An area outside of every area range: what has it is ignored, neither found nor missed.
const IGNORED_AREA: f64 = -1.0;

/// An object as lvis-api reads it, `None` if it leaves the object out: objects without area are
/// left out (`LVIS.get_ann_ids` asks for more than 0), the crowd flag is not looked at, and the
/// field `ignore` is.
pub(crate) fn read_object(mut object: Annotation) -> Option<Annotation> {
    if object.area.is_some_and(|area| area <= 0.0) {
        return None;
    }
    object.iscrowd = false;
    let ignore = object.extra.get("ignore");
    if ignore.is_some_and(|flag| flag.as_f64().map_or(*flag == true, |flag| flag != 0.0)) {
        object.area = Some(IGNORED_AREA);
    }
    Some(object)
}

/// Keeps the 300 best detections of one image, of equal scores the first; then, as lvis-api does,
/// leaves out those without area.
pub(crate) fn cap(detections: &mut Vec<Annotation>) {
    if detections.len() > MAX_DETECTIONS {
        let score = |detection: &Annotation| detection.score.unwrap_or_default();
        // Stable, as Python's `sorted`.
        detections.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal));
        detections.truncate(MAX_DETECTIONS);
    }
    detections.retain(|detection| detected_area(detection).is_none_or(|area| area > 0.0));
}

/// Area of a detection as the references take it: of its box if it has one, else of its mask.
fn detected_area(detection: &Annotation) -> Option<f64> {
    if let Some([_, _, width, height]) = detection.bbox {
        return Some(width * height);
    }
    let code = detection.segmentation.as_ref()?.rle_ref()?;
    Some(code.area().ok()? as f64)
}
