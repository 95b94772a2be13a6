//! The model of a service, in the three steps of a request.

use std::path::Path;

use longtail::burn::tensor::Device;
use longtail::data::RgbImage;
use longtail::training::{
    AnyTrained, ClassScore, DetectionPredictor, PreparedImage, RawPrediction, TrainedModel,
    TrainingError,
};
use longtail::types::ClassMap;
use serde_json::{Value, json};

use crate::error::ServeError;
use crate::queue::Batched;

/// What a service answers with.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives per service")]
pub enum ServedModel {
    /// Classes of images.
    Classifier(TrainedModel),
    /// Objects in images.
    Detector(DetectionPredictor),
}

/// An image as the model wants it.
pub(crate) enum Prepared {
    /// Pixels, and `[height, width]` of the image they come from.
    Classify(Vec<f32>, [usize; 2]),
    Detect(PreparedImage),
}

/// What the model says of an image.
pub(crate) enum Found {
    /// All classes by falling score, and `[height, width]` of the image.
    Classes(Vec<ClassScore>, [usize; 2]),
    Objects(RawPrediction),
}

impl Batched for Prepared {
    fn key(&self) -> [usize; 2] {
        match self {
            // All have the size of the training images.
            Self::Classify(..) => [0, 0],
            Self::Detect(image) => image.padded_size(),
        }
    }
}

impl Prepared {
    /// Pixels that the network sees.
    pub(crate) fn num_pixels(&self) -> usize {
        match self {
            Self::Classify(pixels, _) => pixels.len() / 3,
            Self::Detect(image) => image.padded_size().iter().product(),
        }
    }
}

impl ServedModel {
    /// The model of a run folder, or of one of its checkpoints.
    /// # Errors
    /// As [`AnyTrained::load`].
    pub fn load(run: &Path, device: &Device) -> Result<Self, ServeError> {
        Ok(match AnyTrained::load(run, &[""; 0], device)? {
            AnyTrained::Classification(model) => Self::Classifier(model),
            AnyTrained::Detection(detector) => Self::Detector(detector.into_predictor()),
        })
    }

    /// The classes.
    pub fn classes(&self) -> &ClassMap {
        match self {
            Self::Classifier(model) => model.classes(),
            Self::Detector(detector) => detector.classes(),
        }
    }

    /// What it does: `classification` or `detection`.
    pub fn task(&self) -> &'static str {
        match self {
            Self::Classifier(_) => "classification",
            Self::Detector(_) => "detection",
        }
    }

    /// Task, classes and preprocessing, for clients.
    pub(crate) fn description(&self) -> Value {
        let classes = self.classes();
        let class = |label| json!({ "id": classes.id(label), "name": classes.name(label) });
        let list: Vec<Value> = (0..classes.len()).map(class).collect();
        let task = self.task();
        match self {
            Self::Classifier(model) => {
                let [height, width] = model.image_size();
                let preprocessing = &model.recipe().transforms;
                json!({
                    "task": task, "classes": list, "preprocessing": preprocessing,
                    "input": { "height": height, "width": width },
                })
            }
            Self::Detector(detector) => json!({
                "task": task, "classes": list, "preprocessing": detector.preprocess(),
                "has_masks": detector.detector().has_masks(),
            }),
        }
    }

    pub(crate) fn prepare(&self, image: RgbImage) -> Result<Prepared, TrainingError> {
        let size = [image.height(), image.width()];
        Ok(match self {
            Self::Classifier(model) => Prepared::Classify(model.prepare(&image)?, size),
            Self::Detector(detector) => Prepared::Detect(detector.prepare(image)?),
        })
    }

    /// One pass over images of one key.
    pub(crate) fn run(&self, images: &[&Prepared]) -> Result<Vec<Found>, TrainingError> {
        match self {
            Self::Classifier(model) => {
                let pixels = images.iter().filter_map(|image| match image {
                    Prepared::Classify(pixels, size) => Some((pixels.as_slice(), *size)),
                    Prepared::Detect(_) => None,
                });
                let (pixels, sizes): (Vec<&[f32]>, Vec<_>) = pixels.unzip();
                let classes = model.classify(&pixels, model.classes().len())?;
                let found = classes.into_iter().zip(sizes);
                Ok(found.map(|(classes, size)| Found::Classes(classes, size)).collect())
            }
            Self::Detector(detector) => {
                let images = images.iter().filter_map(|image| match image {
                    Prepared::Detect(image) => Some(image),
                    Prepared::Classify(..) => None,
                });
                let images: Vec<&PreparedImage> = images.collect();
                let found = detector.detect_prepared(&images)?;
                Ok(found.into_iter().map(Found::Objects).collect())
            }
        }
    }
}
