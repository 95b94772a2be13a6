//! Self-Supervised-to-Distillation, third stage: labels for one head, scores of a run for the other.

use std::path::PathBuf;

use burn::tensor::Device;
use longtail_data::{Batch, Epoch, Loader};
use longtail_losses::{RowLabels, StatisticsUpdate, soft_label_distillation};
use longtail_models::Classifier;
use serde::{Deserialize, Serialize};

use super::config::check_number;
use super::start::SchemeStart;
use super::step::{Forward, SchemeStep, SecondHead, StageLosses};
use super::teacher;
use super::two_heads::TwoHeads;
use crate::error::TrainingError;
use crate::recipe_file::refuse;
use crate::settings::Precision;
use crate::tensors::NamedTensors;

/// Configuration of [`Scheme::SelfDistillation`](super::Scheme).
///
/// `L = L_labels(hard head) + weight KD(soft head)`, with the loss of the recipe for the labels and
/// [`soft_label_distillation`] from the logits of the teacher. The soft head is what the run's
/// report, checkpoints and weights are about; the hard head's report is in `hard_head`. Source: Li
/// et al., ICCV 2021, <https://arxiv.org/abs/2109.04075>; defaults are those of the released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfDistillationConfig {
    /// Folder or checkpoint of a finished run of these classes; `{seed}` stands for the seed. It is
    /// used in evaluation mode and stays as it is.
    pub teacher: PathBuf,
    /// By what logits are divided. Default: 2.
    #[serde(default = "two")]
    pub temperature: f64,
    /// Of the soft head's loss. Default: 1.
    #[serde(default = "one")]
    pub weight: f64,
}

fn two() -> f64 {
    2.0
}

fn one() -> f64 {
    1.0
}

impl SelfDistillationConfig {
    pub(super) fn check(&self) -> Result<(), TrainingError> {
        let Self { temperature, weight, .. } = *self;
        let is_allowed = temperature.is_finite() && temperature > 0.0;
        check_number("scheme.temperature", temperature, is_allowed, "a positive number")?;
        let is_allowed = weight.is_finite() && weight >= 0.0;
        check_number("scheme.weight", weight, is_allowed, "a number of at least 0")
    }
}

/// The teacher, beside the model with two heads that the optimizer moves.
pub(crate) struct SelfDistillationStep {
    loader: Loader,
    teacher: Classifier,
    temperature: f64,
    weight: f64,
    precision: Precision,
}

impl SelfDistillationStep {
    pub(super) fn new(
        start: &SchemeStart,
        config: &SelfDistillationConfig,
    ) -> Result<Self, TrainingError> {
        let device = start.device.clone().without_autodiff();
        let key = "scheme.teacher";
        let teacher = teacher::load(key, &config.teacher, &start.recipe, &device)?;
        let path = config.teacher.display();
        if !teacher.classes().names().eq(start.train.class_map().names()) {
            return Err(refuse(key, format!("{path} was trained on other classes")));
        }
        let (found, expected) = (teacher.model().num_logits(), start.losses.main.num_logits());
        if found != expected {
            let problem = format!("{path} has {found} logits for {expected} classes");
            return Err(refuse(key, problem));
        }
        Ok(Self {
            loader: start.loader(start.recipe.sampler)?,
            teacher: teacher.model().for_inference(),
            temperature: config.temperature,
            weight: config.weight,
            precision: start.recipe.precision,
        })
    }
}

impl SchemeStep for SelfDistillationStep {
    type Model = TwoHeads;
    type Batch = Batch;
    type Batches = Epoch;

    fn begin_epoch(&mut self, _epoch: u64) {}

    fn num_batches(&self) -> usize {
        self.loader.num_batches()
    }

    fn batches(&self, epoch: u64, start: usize) -> Epoch {
        self.loader.epoch(epoch, start)
    }

    fn images(batch: &Batch) -> &Batch {
        batch
    }

    fn forward(
        &mut self,
        model: &TwoHeads,
        losses: &StageLosses,
        batch: Batch,
        device: &Device,
    ) -> Result<Forward, TrainingError> {
        let labels = batch.labels.clone();
        let by_labels = losses.of_labels();
        let row_labels = RowLabels::from_host(&labels, by_labels.num_labels(), device)?;
        let images = batch.to_device(device).images;
        let teacher = self.teacher.forward(images.clone().without_autodiff());
        let features = model.classifier.features(self.precision.cast(images));
        let hard = by_labels.forward(model.second.forward(features.clone()), row_labels)?;
        let logits = model.classifier.head.forward(features);
        let soft = soft_label_distillation(logits.clone(), teacher, self.temperature);
        Ok(Forward {
            loss: hard.loss.clone() + soft.clone().mul_scalar(self.weight),
            parts: vec![("loss_hard", hard.loss), ("loss_soft", soft)],
            logits,
            labels,
            updates: [StatisticsUpdate::None, hard.update],
        })
    }

    fn classifier(model: &TwoHeads) -> &Classifier {
        &model.classifier
    }

    fn second_head(model: &TwoHeads) -> Option<SecondHead<'_>> {
        Some(SecondHead { name: "hard_head", head: &model.second })
    }

    /// The teacher stays as it is.
    fn collect(&self, _tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        Ok(())
    }

    fn restore(self, _tensors: &mut NamedTensors) -> Result<Self, String> {
        Ok(self)
    }
}
