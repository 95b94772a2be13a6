//! What a detector finds in an image file.

use std::path::{Path, PathBuf};

use longtail_data::RgbImage;
use longtail_types::{ClassMap, Detection, Mask};
use serde::Serialize;

use super::draw::{draw_detections, write_png};
use crate::error::TrainingError;
use crate::files::write_whole;

/// An image file and the objects found in it.
#[derive(Clone, Debug)]
pub struct ImagePrediction {
    pub(super) path: PathBuf,
    pub(super) image: RgbImage,
    pub(super) detections: Vec<Detection>,
    pub(super) classes: ClassMap,
}

/// The same as JSON.
#[derive(Serialize)]
struct Record<'a> {
    image: &'a Path,
    width: usize,
    height: usize,
    detections: Vec<DetectedObject<'a>>,
}

/// An object in the terms of COCO's results, with the name of its class.
#[derive(Serialize)]
pub(super) struct DetectedObject<'a> {
    class: &'a str,
    category_id: u64,
    score: f32,
    bbox: [f32; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Runs>,
}

/// Run lengths down the columns, beginning with pixels that are not set.
#[derive(Serialize)]
struct Runs {
    size: [usize; 2],
    counts: Vec<usize>,
}

impl<'a> DetectedObject<'a> {
    /// A detection in an image of `[height, width]`.
    pub(super) fn new(found: &Detection, classes: &'a ClassMap, size: [usize; 2]) -> Self {
        Self {
            class: classes.name(found.label).unwrap_or("?"),
            category_id: classes.id(found.label).unwrap_or_default(),
            score: found.score,
            bbox: found.bbox.to_xywh(),
            segmentation: found.mask.as_ref().map(|mask| runs(mask, size)),
        }
    }
}

impl ImagePrediction {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// What was found, in pixels of the image, by falling score.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// Leaves out what has a lower score.
    #[must_use]
    pub fn at_least(mut self, score: f32) -> Self {
        self.detections.retain(|detection| detection.score >= score);
        self
    }

    /// Name of the class of a detection.
    pub fn name(&self, detection: &Detection) -> &str {
        self.classes.name(detection.label).unwrap_or("?")
    }

    /// The image with masks, boxes, names and scores drawn on it.
    pub fn drawn(&self) -> RgbImage {
        draw_detections(&self.image, &self.detections, &self.classes)
    }

    /// File, size and objects as a JSON value: class, score, box as `[x, y, width, height]` and,
    /// where there are masks, their run lengths, as in COCO's results.
    pub fn json(&self) -> serde_json::Value {
        let size = [self.image.height(), self.image.width()];
        let object = |found| DetectedObject::new(found, &self.classes, size);
        let detections = self.detections.iter().map(object).collect();
        let (width, height) = (self.image.width(), self.image.height());
        let record = Record { image: &self.path, width, height, detections };
        // A path that is not Unicode is the one thing that JSON can't hold.
        serde_json::to_value(record).unwrap_or_default()
    }

    /// Writes `folder/NAME.png`, drawn, and `folder/NAME.json`, where NAME is that of the file.
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainingError> {
        let name = Path::new(self.path.file_name().unwrap_or_default());
        write_png(&folder.join(name.with_extension("png")), &self.drawn())?;
        let text = format!("{:#}\n", self.json());
        let path = folder.join(name.with_extension("json"));
        write_whole(&path, |file| file.write_all(text.as_bytes()))
    }
}

fn runs(mask: &Mask, [height, width]: [usize; 2]) -> Runs {
    let mut counts = vec![0];
    let mut is_set = false;
    let mut push = |len: usize, set: bool| {
        if set != is_set && len > 0 {
            is_set = set;
            counts.push(0);
        }
        if let Some(count) = counts.last_mut() {
            *count += len;
        }
    };
    // Outside of its window nothing is set.
    let columns = mask.left().min(width)..(mask.left() + mask.width()).min(width);
    let rows = mask.top().min(height)..(mask.top() + mask.height()).min(height);
    push(columns.start * height, false);
    for x in columns.clone() {
        push(rows.start, false);
        rows.clone().for_each(|y| push(1, mask.get(x, y)));
        push(height - rows.end, false);
    }
    push((width - columns.end) * height, false);
    Runs { size: [height, width], counts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::BBox;

    fn prediction() -> ImagePrediction {
        let mask = Mask::new([1, 0], [2, 2], vec![true, true, false, true]);
        let bbox = BBox::new(1.0, 0.0, 3.0, 2.0);
        ImagePrediction {
            path: "photos/owl.jpg".into(),
            image: RgbImage::filled(4, 3, [7; 3]),
            detections: vec![
                Detection { label: 1, score: 0.75, bbox, mask },
                Detection { label: 0, score: 0.25, bbox, mask: None },
            ],
            classes: ClassMap::from_ids([(3, "wren".into(), None), (9, "owl".into(), None)])
                .unwrap(),
        }
    }

    #[test]
    fn json_has_names_ids_boxes_and_runs() {
        let json = prediction().json();
        assert_eq!(json["image"], "photos/owl.jpg");
        let owl = &json["detections"][0];
        assert_eq!((&owl["class"], &owl["category_id"]), (&"owl".into(), &9.into()));
        assert_eq!(owl["bbox"], serde_json::json!([1.0, 0.0, 2.0, 2.0]));
        // By columns of 3: 000 100 110 000.
        assert_eq!(owl["segmentation"]["counts"], serde_json::json!([3, 1, 2, 2, 4]));
        assert_eq!(owl["segmentation"]["size"], serde_json::json!([3, 4]));
        assert!(json["detections"][1].get("segmentation").is_none());
        assert_eq!(prediction().at_least(0.5).detections().len(), 1);
    }

    #[test]
    fn files_are_named_after_the_image() {
        let folder = tempfile::tempdir().unwrap();
        prediction().write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("owl.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, prediction().json());
        assert!(folder.path().join("owl.png").exists());
    }
}
