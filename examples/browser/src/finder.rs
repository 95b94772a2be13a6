//! Images to boxes, without files and without blocking.

use anyhow::{Context, ensure};
use burn::tensor::Device;
use longtail_data::{
    DataError, DetectionBatch, DetectionPipeline, DetectionPipelineConfig, DetectionSample,
    KeyedRng, RgbImage, Stream,
};
use longtail_models::{Detector, DetectorLoadScope, RawDetection};
use longtail_types::{Preprocess, ResizeRule};
use serde::Serialize;

use crate::ModelCard;

/// A detector with its preprocessing and the names of its classes.
#[derive(Debug)]
pub struct Finder {
    card: ModelCard,
    detector: Detector,
    pipeline: DetectionPipeline,
    /// For images that would be too large.
    limited: DetectionPipeline,
    device: Device,
}

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The objects, by falling score.
    pub objects: Vec<FoundObject>,
    /// `[height, width]` of the image as the network saw it.
    pub seen: [usize; 2],
}

/// An object in an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundObject {
    /// Name of its class.
    pub class: String,
    /// Number of its class, `0..num_classes`.
    pub label: usize,
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// `[x1, y1, x2, y2]` in the pixels of the image.
    pub bbox: [f32; 4],
}

impl Finder {
    /// Puts card and weights (`.safetensors`, with torchvision's names) together on a device.
    ///
    /// # Errors
    /// If the weights are damaged or not those of the card's model, or the card contradicts itself.
    pub fn new(card: ModelCard, weights: Vec<u8>, device: &Device) -> anyhow::Result<Self> {
        ensure!(card.max_side > 0, "max_side is 0");
        let loss = card.loss.init(&card.counts, device).context("the loss of the model card")?;
        let mut detector =
            card.model.init(loss, 0, device).context("the model of the model card")?;
        let (names, num_classes) = (card.classes.len(), detector.num_classes());
        ensure!(names == num_classes, "{num_classes} classes and {names} names");
        detector.calibrate(card.calibration.as_ref(), &card.counts)?;
        detector.load_weight_bytes("model.safetensors", weights, DetectorLoadScope::All)?;
        let limit = ResizeRule::ShortestEdge { min: card.max_side, max: card.max_side };
        Ok(Self {
            pipeline: pipeline(card.preprocess, card.preprocess.resize)?,
            limited: pipeline(card.preprocess, limit)?,
            detector: detector.for_inference(),
            device: device.clone(),
            card,
        })
    }

    /// The objects of an image. Masks, where the model has them, are not drawn.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn find(&self, image: RgbImage) -> anyhow::Result<Found> {
        let size = [image.height(), image.width()];
        ensure!(size[0] > 0 && size[1] > 0, "the image has no pixel");
        let sample = DetectionSample { image, instances: Vec::new() };
        let [height, width] = self.card.preprocess.resize.size(size);
        let is_too_large = height.max(width) > self.card.max_side;
        let pipeline = if is_too_large { &self.limited } else { &self.pipeline };
        // Test transforms draw no random numbers and take no second image.
        let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
        let mut nobody = |_: &mut KeyedRng| Err(DataError::EmptyDataset);
        let sample = pipeline.apply(sample, &mut rng, &mut nobody)?;
        let seen = sample.size();
        let samples = vec![(0, size, sample)];
        let batch = DetectionBatch::collate(pipeline, &self.card.padding, samples)?;
        let found = self.detector.predict_async(&batch.to_device(&self.device)).await?;
        let object = |raw: RawDetection| {
            let found = RawDetection { mask: None, ..raw }.resized(seen, size);
            FoundObject {
                class: self.card.classes.name(found.label).unwrap_or("?").to_owned(),
                label: found.label,
                score: found.score,
                bbox: found.bbox.to_array(),
            }
        };
        Ok(Found { objects: found.into_iter().flatten().map(object).collect(), seen })
    }

    /// What it was made from.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }
}

fn pipeline(preprocess: Preprocess, resize: ResizeRule) -> anyhow::Result<DetectionPipeline> {
    let preprocess = Preprocess { resize, ..preprocess };
    let config = DetectionPipelineConfig { preprocess, ..Default::default() };
    Ok(config.test_pipeline()?)
}
