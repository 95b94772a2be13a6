//! From files of annotations and detections to average precision.

use std::fs;
use std::path::{Path, PathBuf};

use longtail::eval::{Benchmark, DetectionSettings, GroundTruth, Overlap, evaluate_detections};
use serde_json::{Value, json};

use super::{Failure, Operation};
use crate::noise::noise;

/// Objects of each image; the detector finds most of them.
const OBJECTS: usize = 7;
/// Detections of each image, of which so many are near an object.
const DETECTIONS: usize = 30;

pub(super) struct Evaluation {
    annotations: PathBuf,
    detections: PathBuf,
}

impl Evaluation {
    /// Writes `annotations.json` and `detections.json`; the peer reads them too.
    pub(super) fn new(images: usize, classes: usize, scratch: &Path) -> Result<Self, Failure> {
        let [annotations, detections] =
            ["annotations.json", "detections.json"].map(|name| scratch.join(name));
        let objects: Vec<Value> = (0..images * OBJECTS).map(|i| annotation(i, classes)).collect();
        let truth = json!({
            "images": (0..images).map(image).collect::<Vec<_>>(),
            "categories": (1..=classes).map(category).collect::<Vec<_>>(),
            "annotations": objects,
        });
        let found: Vec<Value> = (0..images * DETECTIONS).map(|i| detection(i, classes)).collect();
        fs::write(&annotations, serde_json::to_vec(&truth)?)?;
        fs::write(&detections, serde_json::to_vec(&found)?)?;
        Ok(Self { annotations, detections })
    }

    fn average_precision(&self) -> Result<Option<f64>, Failure> {
        let truth = GroundTruth::read(&self.annotations, Benchmark::Coco)?;
        let settings = DetectionSettings {
            max_analysed_images: 0, // the peer has no such analysis
            ..DetectionSettings::new("bench", Overlap::Boxes)
        };
        Ok(evaluate_detections(&truth, &self.detections, &settings)?.metrics.ap)
    }
}

impl Operation for Evaluation {
    fn run(&mut self) -> Result<(), Failure> {
        self.average_precision().map(drop)
    }

    fn check(&mut self) -> Result<Option<f64>, Failure> {
        self.average_precision()
    }
}

fn image(index: usize) -> Value {
    json!({ "id": index + 1, "width": 640, "height": 480, "file_name": format!("{index}.jpg") })
}

fn category(id: usize) -> Value {
    json!({ "id": id, "name": format!("class {id}") })
}

/// Category and box `[x, y, width, height]` of an object.
fn object(index: usize, classes: usize) -> (usize, [f32; 4]) {
    let at = |seed| noise(index as u32, seed);
    let (width, height) = (8.0 + 192.0 * at(51), 8.0 + 152.0 * at(52));
    let bbox = [at(53) * (640.0 - width), at(54) * (480.0 - height), width, height];
    (1 + index * 7919 % classes, bbox)
}

fn annotation(index: usize, classes: usize) -> Value {
    let (category, bbox) = object(index, classes);
    json!({
        "id": index + 1,
        "image_id": index / OBJECTS + 1,
        "category_id": category,
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "iscrowd": 0,
    })
}

/// The first of each image are objects a bit off, the others boxes somewhere.
fn detection(index: usize, classes: usize) -> Value {
    let (image, rank) = (index / DETECTIONS, index % DETECTIONS);
    let at = |seed| noise(index as u32, seed);
    let (category, bbox) = if rank < OBJECTS {
        let (category, [x, y, width, height]) = object(image * OBJECTS + rank, classes);
        let (dx, dy) = (0.3 * width * (at(55) - 0.5), 0.3 * height * (at(56) - 0.5));
        (category, [x + dx, y + dy, width, height])
    } else {
        object(index + 1_000_000_000, classes)
    };
    json!({ "image_id": image + 1, "category_id": category, "bbox": bbox, "score": at(57) })
}
