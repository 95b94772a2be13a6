//! A detector ready for images.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use longtail_data::{
    BatchPadding, DataError, DetectionBatch, DetectionPipeline, DetectionPipelineConfig,
    DetectionSample, KeyedRng, RgbImage, Stream, decode_image,
};
use longtail_losses::{ClassificationLossConfig, CrossEntropyConfig};
use longtail_models::{Coco91, Detector, DetectorConfig, DetectorLoadScope, WeightSet};
use longtail_types::{ClassCounts, ClassMap, Detection, Preprocess};

use super::prediction::ImagePrediction;
use super::raw_prediction::RawPrediction;
use crate::error::TrainingError;

/// A detector with its preprocessing and the names of its classes.
///
/// From a run by [`TrainedDetector`](crate::TrainedDetector), from COCO weights by
/// [`published`](Self::published), or from parts by [`new`](Self::new).
#[derive(Debug)]
pub struct DetectionPredictor {
    detector: Detector,
    /// The same, faster.
    inference: Detector,
    pipeline: DetectionPipeline,
    padding: BatchPadding,
    classes: ClassMap,
}

/// An image after the test transforms of a [`DetectionPredictor`].
#[derive(Clone, Debug)]
pub struct PreparedImage {
    sample: DetectionSample,
    size: [usize; 2],
    padded_size: [usize; 2],
}

impl PreparedImage {
    /// `[height, width]` of the image before the transforms.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// `[height, width]` of a batch of this image alone, padding included.
    pub fn padded_size(&self) -> [usize; 2] {
        self.padded_size
    }
}

impl DetectionPredictor {
    /// Puts the parts together; images go through the test transforms.
    /// # Errors
    /// If a setting of the transforms is outside its range, or there are more or fewer classes than
    /// the detector tells apart.
    pub fn new(
        detector: Detector,
        transforms: &DetectionPipelineConfig,
        padding: BatchPadding,
        classes: ClassMap,
    ) -> Result<Self, TrainingError> {
        if classes.len() != detector.num_classes() {
            let (names, num_classes) = (classes.len(), detector.num_classes());
            let difference = format!("{num_classes} classes and {names} names");
            return Err(TrainingError::ClassesDiffer { difference });
        }
        let pipeline = transforms.test_pipeline()?;
        Ok(Self {
            inference: detector.for_inference(),
            detector: detector.valid(),
            pipeline,
            padding,
            classes,
        })
    }

    /// torchvision's COCO detectors: `path` is the file of the set.
    /// # Errors
    /// If the set is of a classifier, or the file is another.
    pub fn published(set: WeightSet, path: &Path, device: &Device) -> Result<Self, TrainingError> {
        let Some(config) = set.detector() else {
            return Err(TrainingError::NoDetector { name: set.name.to_string() });
        };
        let classes = Coco91::class_map();
        let loss = match config {
            DetectorConfig::RetinaNet(_) => ClassificationLossConfig::Focal(Default::default()),
            _ => ClassificationLossConfig::CrossEntropy(CrossEntropyConfig { background: true }),
        };
        // Neither loss reads the counts.
        let ones = vec![1; classes.len()];
        let counts = ClassCounts::new(ones.clone(), ones, classes.len() as u64)?;
        let device = device.clone().without_autodiff();
        let mut detector = config.init(loss.init(&counts, &device)?, 0, &device)?;
        detector.load_weights(path, DetectorLoadScope::All)?;
        let preprocess = set.preprocess();
        let transforms = DetectionPipelineConfig { preprocess, ..Default::default() };
        Self::new(detector, &transforms, BatchPadding::default(), classes)
    }

    /// Objects in an image, in its own pixels, by falling score.
    /// # Errors
    /// If the image has no pixel, or the device fails.
    pub fn detect_image(&self, image: &RgbImage) -> Result<Vec<Detection>, TrainingError> {
        let image = self.prepare(image.clone())?;
        let found = self.detect_prepared(&[&image])?;
        Ok(found.iter().flat_map(RawPrediction::detections).collect())
    }

    /// An image after the test transforms, to be detected in later.
    /// # Errors
    /// If the image has no pixel, or is larger than the sizes of batches that the recipe allows.
    pub fn prepare(&self, image: RgbImage) -> Result<PreparedImage, TrainingError> {
        let size = [image.height(), image.width()];
        let sample = DetectionSample { image, instances: Vec::new() };
        // Test transforms draw no random numbers and take no second image.
        let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
        let mut nobody = |_: &mut KeyedRng| Err(DataError::EmptyDataset);
        let sample = self.pipeline.apply(sample, &mut rng, &mut nobody)?;
        let padded_size = self.padding.size(&[sample.size()])?;
        Ok(PreparedImage { sample, size, padded_size })
    }

    /// Objects in several images in one pass. On `flex` the objects of an image are the same, bit for
    /// bit, whatever the others are, if all have the same [`padded_size`](PreparedImage::padded_size).
    /// # Errors
    /// If the images have no common size of batches, or the device fails.
    pub fn detect_prepared(
        &self,
        images: &[&PreparedImage],
    ) -> Result<Vec<RawPrediction>, TrainingError> {
        let device = self.inference.devices().into_iter().next().unwrap_or_default();
        let samples = images.iter().map(|image| (0, image.size, image.sample.clone())).collect();
        let batch = DetectionBatch::collate(&self.pipeline, &self.padding, samples)?;
        let batch = batch.to_device(&device);
        let found = self.inference.predict(&batch)?.into_iter().zip(batch.sizes).zip(images);
        let found = found.map(|((found, from), image)| RawPrediction::new(found, from, image.size));
        Ok(found.collect())
    }

    /// What the model expects of an image.
    pub fn preprocess(&self) -> Preprocess {
        self.pipeline.preprocess()
    }

    /// Objects in an image file.
    /// # Errors
    /// If the file cannot be read or is no whole JPEG or PNG image, or the device fails.
    pub fn detect_file(&self, path: &Path) -> Result<ImagePrediction, TrainingError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrainingError::Read { path: path.to_path_buf(), source })?;
        let image = decode_image(&bytes, &path.display().to_string())?;
        let detections = self.detect_image(&image)?;
        let (path, classes) = (path.to_path_buf(), self.classes.clone());
        Ok(ImagePrediction { path, image, detections, classes })
    }

    /// The network.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The classes.
    pub fn classes(&self) -> &ClassMap {
        &self.classes
    }
}
