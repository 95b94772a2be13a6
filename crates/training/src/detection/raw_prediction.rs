//! What a detector finds in an image, its masks not drawn yet.

use std::borrow::Cow;

use longtail_data::RgbImage;
use longtail_models::RawDetection;
use longtail_types::{ClassMap, Detection};
use serde::Serialize;

use super::draw::draw;
use super::prediction::DetectedObject;

/// Objects of one image. A mask takes the memory of its pixels only while it is looked at.
#[derive(Clone, Debug)]
pub struct RawPrediction {
    found: Vec<RawDetection>,
    /// `[height, width]` of the image in the batch.
    from: [usize; 2],
    /// The same of the image itself.
    size: [usize; 2],
}

/// A prediction as JSON.
#[derive(Serialize)]
struct Record<'a> {
    width: usize,
    height: usize,
    detections: Vec<DetectedObject<'a>>,
}

impl RawPrediction {
    pub(super) fn new(found: Vec<RawDetection>, from: [usize; 2], size: [usize; 2]) -> Self {
        Self { found, from, size }
    }

    /// Keeps at most `max` objects, the best, and leaves out what has a lower score than `score`.
    #[must_use]
    pub fn best(mut self, score: f32, max: usize) -> Self {
        self.found.retain(|detection| detection.score >= score);
        self.found.truncate(max);
        self
    }

    /// `[height, width]` of the image.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The objects in pixels of the image, by falling score; each mask is drawn when its turn comes.
    pub fn detections(&self) -> impl Iterator<Item = Detection> {
        self.found.iter().cloned().map(|found| found.resized(self.from, self.size))
    }

    /// Size and objects as a JSON value, those as in
    /// [`ImagePrediction::json`](super::ImagePrediction::json).
    /// # Errors
    /// If a number can't be written, which a detector does not produce.
    pub fn json(&self, classes: &ClassMap) -> serde_json::Result<serde_json::Value> {
        let [height, width] = self.size;
        let detections = self.detections();
        let objects = detections.map(|found| DetectedObject::new(&found, classes, self.size));
        serde_json::to_value(Record { width, height, detections: objects.collect() })
    }

    /// The image with masks, boxes, names and scores drawn on it.
    pub fn drawn(&self, image: &RgbImage, classes: &ClassMap) -> RgbImage {
        // Best on top.
        let mut order: Vec<&RawDetection> = self.found.iter().collect();
        order.sort_by(|a, b| a.score.total_cmp(&b.score));
        let resized = |found: &RawDetection| found.clone().resized(self.from, self.size);
        let without =
            |found: &&RawDetection| resized(&RawDetection { mask: None, ..(*found).clone() });
        let boxes: Vec<Detection> = order.iter().map(without).collect();
        let masks = order.iter().filter_map(|found| {
            let mask = resized(found).mask?;
            Some((found.label, Cow::Owned(mask)))
        });
        draw(image, &boxes.iter().collect::<Vec<_>>(), masks, classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::draw_detections;
    use longtail_types::BBox;

    fn prediction() -> RawPrediction {
        let bbox = |x: f32| BBox::new(x, 2.0, x + 8.0, 14.0);
        let found = |label, score, x| {
            let mask = Some((0..16).map(|pixel| f32::from(pixel % 5 != label as u8)).collect());
            RawDetection { label, score, bbox: bbox(x), mask }
        };
        let found = vec![found(1, 0.9, 2.0), found(0, 0.5, 6.0), found(1, 0.1, 9.0)];
        RawPrediction::new(found, [16, 20], [32, 40])
    }

    #[test]
    fn the_best_are_kept() {
        let scores = |prediction: RawPrediction| {
            prediction.detections().map(|found| found.score).collect::<Vec<_>>()
        };
        assert_eq!(scores(prediction().best(0.2, 9)), [0.9, 0.5]);
        assert_eq!(scores(prediction().best(0.0, 1)), [0.9]);
        assert_eq!(scores(prediction().best(0.95, 9)), [0.0; 0]);
    }

    #[test]
    fn one_mask_at_a_time_draws_the_same() {
        let classes = ClassMap::from_names(["owl", "wren"]).unwrap();
        let image = RgbImage::filled(40, 32, [90, 100, 110]);
        let all: Vec<Detection> = prediction().detections().collect();
        assert!(all.iter().all(|found| found.mask.as_ref().is_some_and(|mask| mask.area() > 20)));
        let drawn = prediction().drawn(&image, &classes);
        assert_eq!(drawn, draw_detections(&image, &all, &classes));
        assert_ne!(drawn, image);
        let json = prediction().json(&classes).unwrap();
        assert_eq!((&json["width"], &json["height"]), (&40.into(), &32.into()));
        assert_eq!(json["detections"][1]["bbox"], serde_json::json!([12.0, 4.0, 16.0, 24.0]));
        assert_eq!(json["detections"][1]["segmentation"]["size"], serde_json::json!([32, 40]));
    }
}
