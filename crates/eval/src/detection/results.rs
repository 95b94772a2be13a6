//! Detections as files in COCO's results JSON.

use std::io::{self, Write};
use std::path::Path;

use hotcoco::Segmentation;
use longtail_types::{ClassMap, Detection};
use serde::Serialize;

use super::{
    mask_code::encode_mask,
    settings::Overlap,
    truth_builder::{coco_box, pixels},
};
use crate::EvalError;

/// Detections of one image, for a results file.
#[derive(Debug, Clone, Copy)]
pub struct ImageDetections<'a> {
    /// Id of the image in the data set.
    pub image_id: u64,
    /// `[height, width]` of the image.
    pub size: [usize; 2],
    /// What was found, in the pixels of this size.
    pub detections: &'a [Detection],
}

/// One line of a results file.
#[derive(Serialize)]
struct Line {
    image_id: u64,
    category_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bbox: Option<[f64; 4]>,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation>,
}

/// Detections as results JSON, one line each: boxes, or masks in compressed run lengths.
///
/// A file holds one of the two, as pycocotools would take areas of boxes for those of masks where
/// it sees both. All digits are written, so that the file evaluates to the same numbers.
///
/// # Errors
/// If a label is outside of the classes, a number is not finite, or a mask is to be written and is
/// missing or reaches beyond the image; the error names image and place.
pub fn detections_json(
    images: &[ImageDetections],
    classes: &ClassMap,
    overlap: Overlap,
) -> Result<String, EvalError> {
    let mut text = Vec::new();
    let lines = lines(images, classes, overlap)?;
    write_lines(&mut text, &lines)
        .map_err(|error| EvalError::Json(serde_json::Error::io(error)))?;
    String::from_utf8(text).map_err(|error| EvalError::Json(serde::ser::Error::custom(error)))
}

/// Writes [`detections_json`] into a file, whole or not at all.
///
/// # Errors
/// As there, and if the file cannot be written.
pub fn write_detections(
    path: &Path,
    images: &[ImageDetections],
    classes: &ClassMap,
    overlap: Overlap,
) -> Result<(), EvalError> {
    let lines = lines(images, classes, overlap)?;
    longtail_types::write_whole(path, |file| write_lines(file, &lines))
        .map_err(|source| EvalError::Io { path: path.to_path_buf(), source })
}

fn lines(
    images: &[ImageDetections],
    classes: &ClassMap,
    overlap: Overlap,
) -> Result<Vec<Line>, EvalError> {
    let mut lines = Vec::new();
    for &ImageDetections { image_id, size, detections } in images {
        for (index, found) in detections.iter().enumerate() {
            let line = line(image_id, size, found, classes, overlap);
            lines.push(line.map_err(|message| EvalError::BadDetection {
                image_id,
                index,
                message,
            })?);
        }
    }
    Ok(lines)
}

fn line(
    image_id: u64,
    size: [usize; 2],
    found: &Detection,
    classes: &ClassMap,
    overlap: Overlap,
) -> Result<Line, String> {
    let category_id = classes
        .id(found.label)
        .ok_or_else(|| format!("label {} is outside 0..{}", found.label, classes.len()))?;
    if !found.score.is_finite() {
        return Err(format!("its score {} is not finite", found.score));
    }
    let bbox = coco_box(found.bbox)?;
    let (bbox, segmentation) = match overlap {
        Overlap::Boxes => (Some(bbox), None),
        Overlap::Masks => {
            let mask = found.mask.as_ref().ok_or("it has no mask, but masks are written")?;
            (None, Some(encode_mask(mask, pixels(size)?)?))
        }
    };
    Ok(Line { image_id, category_id, bbox, score: f64::from(found.score), segmentation })
}

fn write_lines(out: &mut dyn Write, lines: &[Line]) -> io::Result<()> {
    out.write_all(b"[")?;
    for (index, line) in lines.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, line)?;
    }
    out.write_all(b"\n]\n")
}
