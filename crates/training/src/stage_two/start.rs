//! What a second stage begins with.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use longtail_data::ImageDataset;
use longtail_losses::ClassificationLoss;
use longtail_models::{Classifier, ClassifierHead, WeightInit};
use longtail_types::ClassCounts;

use super::config::SecondStage;
use crate::detection::ClassifierStart;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;
use crate::tensors::{NamedTensors, collect, restore};
use crate::trained::TrainedModel;

/// The result of a first stage, with the data for the second.
pub(super) struct Base<'a> {
    /// The recipe of both stages; its seed is that of the second.
    pub(super) recipe: Recipe,
    pub(super) stage: &'a SecondStage,
    pub(super) trained: &'a TrainedModel,
    pub(super) train: Arc<ImageDataset>,
    pub(super) validation: Option<Arc<ImageDataset>>,
    pub(super) test: ImageDataset,
    pub(super) counts: ClassCounts,
    /// With autodiff.
    pub(super) device: Device,
}

impl Base<'_> {
    /// The backbone of the first stage under the head that the second begins with.
    pub(super) fn initial_model(
        &self,
        loss: &ClassificationLoss,
    ) -> Result<Classifier, TrainingError> {
        let learned = self.trained.model();
        let plain = self.device.clone().without_autodiff();
        let fresh = || -> Result<ClassifierHead, TrainingError> {
            let init = WeightInit::new(self.recipe.seed, &plain).child("head");
            let (num_logits, bias) = (loss.num_logits(), loss.prior_bias());
            let config = self.recipe.final_model().head;
            Ok(config.init(learned.num_features(), num_logits, bias, &init)?)
        };
        let by_start = |start| match start {
            ClassifierStart::Fresh => fresh(),
            ClassifierStart::Learned => Ok(learned.head.clone()),
        };
        let head = match self.stage {
            SecondStage::Classifier(config) => by_start(config.start)?,
            SecondStage::MetaSampler(config) => by_start(config.start)?,
            SecondStage::Lws(config) => learned.head.scaled(config.scale_bias)?,
            SecondStage::Crt(_) | SecondStage::TauNorm(_) | SecondStage::Ncm(_) => fresh()?,
        };
        self.on_device(Classifier { head, ..learned.clone() }, loss)
    }

    /// The values of a classifier in one that is ready to train.
    fn on_device(
        &self,
        classifier: Classifier,
        loss: &ClassificationLoss,
    ) -> Result<Classifier, TrainingError> {
        let mut values = NamedTensors::new();
        collect("model", &classifier.valid(), &mut values)?;
        let config = self.recipe.final_model();
        let model =
            config.init(loss.num_logits(), loss.prior_bias(), self.recipe.seed, &self.device)?;
        restore("model", model, &mut values).map_err(|problem| match self.stage {
            SecondStage::Classifier(_) | SecondStage::MetaSampler(_) => {
                refuse("stage_two.start", format!("learned: {problem}; set it to \"fresh\""))
            }
            _ => refuse("stage_two.method", format!("{}: {problem}", self.stage.method())),
        })
    }
}
