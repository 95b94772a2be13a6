//! Evaluation of a detector on the validation set, image by image.

use std::sync::Arc;

use burn::module::Module;
use longtail_data::{
    DetectionDataset, DetectionLoader, DetectionLoaderConfig, DetectionSamplerConfig,
};
use longtail_eval::{
    Benchmark, DetectionEvaluator, DetectionReport, DetectionSettings, EvalError, GroundTruth,
    Overlap, StreamingEvaluator, TrainingCounts,
};
use longtail_models::Detector;
use longtail_types::{ClassCounts, Detection};

use super::recipe::DetectionRecipe;
use super::result::DetectionResult;
use crate::error::TrainingError;

/// Validation images with their ground truth, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct DetectionTestSet {
    all: Part,
    /// Fewer images, for evaluations on the way.
    some: Option<Part>,
    settings: DetectionSettings,
    has_masks: bool,
}

#[derive(Debug)]
struct Part {
    set: Arc<DetectionDataset>,
    loader: DetectionLoader,
    truth: GroundTruth,
}

impl DetectionTestSet {
    pub(crate) fn new(
        recipe: &DetectionRecipe,
        val: DetectionDataset,
        counts: &ClassCounts,
    ) -> Result<Self, TrainingError> {
        let has_masks = recipe.model.has_masks();
        let federated = if val.is_federated() { Benchmark::Lvis } else { Benchmark::Coco };
        let benchmark = recipe.evaluation.protocol.unwrap_or(federated);
        let truth = recipe.dataset.ground_truth(&val, benchmark, has_masks)?;
        let settings = DetectionSettings {
            seed: Some(recipe.seed),
            test_set: recipe.dataset.describe_val(),
            training: Some(TrainingCounts {
                counts: counts.clone(),
                source: recipe.dataset.describe_train(),
            }),
            ..DetectionSettings::new(recipe.name(), Overlap::Boxes)
        };
        let max_images = recipe.evaluation.max_images.filter(|&max| max < val.num_images());
        let some = match max_images {
            None => None,
            Some(max) => {
                let indices: Vec<usize> = (0..max).collect();
                let ids: Vec<u64> = indices.iter().map(|&index| val.image(index).id).collect();
                let part = Part::new(recipe, val.subset(&indices)?, truth.subset(&ids)?)?;
                Some(part)
            }
        };
        Ok(Self { all: Part::new(recipe, val, truth)?, some, settings, has_masks })
    }

    /// Evaluates a model on all images or on the first few.
    pub(crate) fn evaluate(
        &self,
        model: &Detector,
        is_final: bool,
    ) -> Result<DetectionResult, TrainingError> {
        self.evaluate_each(model, is_final, &mut |_, _| ())
    }

    /// The same; `seen` gets the index of every image and what was found in it.
    pub(crate) fn evaluate_each(
        &self,
        model: &Detector,
        is_final: bool,
        seen: &mut dyn FnMut(usize, &[Detection]),
    ) -> Result<DetectionResult, TrainingError> {
        let part = self.some.as_ref().filter(|_| !is_final).unwrap_or(&self.all);
        let evaluator = |overlap| {
            let settings = DetectionSettings { overlap, ..self.settings.clone() };
            StreamingEvaluator::new(part.truth.clone(), settings)
        };
        let mut boxes = evaluator(Overlap::Boxes)?;
        let mut masks = self.has_masks.then(|| evaluator(Overlap::Masks)).transpose()?;
        let model = model.for_inference();
        let device = model.devices().into_iter().next().unwrap_or_default();
        for batch in part.loader.epoch(0, 0) {
            let batch = batch?;
            let found = model.predict(&batch.to_device(&device))?;
            for ((index, found), from) in batch.indices.into_iter().zip(found).zip(batch.sizes) {
                let image = part.set.image(index);
                let found = found.into_iter().map(|found| found.resized(from, image.size()));
                let found: Vec<_> = found.collect();
                seen(index, &found);
                boxes.add_image(image.id, &found)?;
                if let Some(masks) = &mut masks {
                    masks.add_image(image.id, &found)?;
                }
            }
        }
        let finish = |evaluator: StreamingEvaluator| evaluator.finish();
        let masks = masks.map(finish).transpose()?;
        let boxes: Result<DetectionReport, EvalError> = boxes.finish();
        Ok(DetectionResult { boxes: boxes?, masks })
    }
}

impl Part {
    fn new(
        recipe: &DetectionRecipe,
        set: DetectionDataset,
        truth: GroundTruth,
    ) -> Result<Self, TrainingError> {
        let set = Arc::new(set);
        let config = DetectionLoaderConfig {
            batch_size: recipe.evaluation.batch_size,
            workers: recipe.run.workers,
            keep_empty: true,
            ..recipe.batches.loader_config()
        };
        let pipeline = recipe.transforms.test_pipeline()?;
        let order = DetectionSamplerConfig::Sequential;
        let loader = DetectionLoader::new(set.clone(), pipeline, order, config)?;
        Ok(Self { set, loader, truth })
    }
}
