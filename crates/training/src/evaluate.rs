//! Scores of a trained model on the test set.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use longtail_data::{ImageDataset, Loader, LoaderConfig, SamplerConfig};
use longtail_eval::{ClassificationEvaluator, ClassificationReport, EvaluationProtocol};
use longtail_kernels::read_floats;
use longtail_losses::ClassificationLoss;
use longtail_models::Classifier;
use longtail_types::{ClassCounts, ClassMap};

use crate::calibration;
use crate::dataset::class_difference;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;
use crate::trained::TrainedModel;

/// Test images, ready to be loaded in order.
#[derive(Debug)]
pub(crate) struct TestSet {
    loader: Loader,
    classes: ClassMap,
    /// What reports call it.
    name: String,
}

impl TestSet {
    pub(crate) fn new(recipe: &Recipe, test: ImageDataset) -> Result<Self, TrainingError> {
        let config = LoaderConfig {
            batch_size: recipe.evaluation.batch_size,
            workers: recipe.run.workers,
            ..Default::default()
        };
        let classes = test.class_map().clone();
        let pipeline = recipe.transforms.test_pipeline()?;
        let loader = Loader::new(Arc::new(test), pipeline, SamplerConfig::Sequential, config)?;
        Ok(Self { loader, classes, name: recipe.dataset.describe_test() })
    }

    /// The validation images of a recipe, which must be of the classes of a model.
    pub(crate) fn validation(recipe: &Recipe, classes: &ClassMap) -> Result<Self, TrainingError> {
        let Some(images) = recipe.dataset.load()?.validation else {
            return Err(refuse("dataset.validation", "not set: there is nothing to evaluate on"));
        };
        if let Some(difference) = class_difference(classes, images.class_map()) {
            return Err(TrainingError::ClassesDiffer { difference });
        }
        Ok(Self { name: recipe.dataset.describe_validation(), ..Self::new(recipe, images)? })
    }

    /// Evaluates a model.
    pub(crate) fn report(
        &self,
        model: &Classifier,
        loss: &ClassificationLoss,
        recipe: &Recipe,
        counts: &ClassCounts,
    ) -> Result<ClassificationReport, TrainingError> {
        self.report_each(model, loss, recipe, counts, &mut |_, _, _| ())
    }

    /// The same; `seen` gets the index of every image, its label and its scores.
    pub(crate) fn report_each(
        &self,
        model: &Classifier,
        loss: &ClassificationLoss,
        recipe: &Recipe,
        counts: &ClassCounts,
        seen: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<ClassificationReport, TrainingError> {
        let model = model.for_inference();
        let device = model.devices().into_iter().next().unwrap_or_default();
        let calibration = calibration::fitted(recipe.calibration.as_ref(), counts, loss, &device)?;
        let mut evaluator = ClassificationEvaluator::new(loss.num_classes())?;
        for batch in self.loader.epoch(0, 0) {
            let batch = batch?;
            let (labels, indices) = (batch.labels.clone(), batch.indices.clone());
            let logits = model.forward(batch.to_device(&device).images);
            let scores = read_floats(loss.calibrated_scores(logits, calibration.as_ref())?)?;
            evaluator.add(&scores, &labels)?;
            let rows = scores.chunks_exact(loss.num_classes().max(1));
            for ((&index, &label), scores) in indices.iter().zip(&labels).zip(rows) {
                seen(index, label, scores);
            }
        }
        let protocol = EvaluationProtocol {
            test_set: self.name.clone(),
            train_counts: recipe.dataset.describe_train(),
            thresholds: recipe.evaluation.shots,
        };
        Ok(evaluator.report(&recipe.name(), &self.classes, counts, protocol)?)
    }
}

/// Evaluates a checkpoint, or the last one of a run folder, on the test set of its recipe.
///
/// `overrides` change the recipe, for example `dataset.source.root=/other/place`.
/// # Errors
/// If there is no whole checkpoint, the test set is refused, or its classes are not the model's.
pub fn evaluate(
    path: &Path,
    overrides: &[impl AsRef<str>],
    device: &Device,
) -> Result<ClassificationReport, TrainingError> {
    TrainedModel::load(path, overrides, device)?.evaluate()
}
