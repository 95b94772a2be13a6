//! Class-Balanced Distillation: the second stage, which trains the student.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use longtail_data::{Batch, Epoch, Loader, SamplerConfig};
use longtail_losses::{RowLabels, StatisticsUpdate, feature_distillation, unit_rows};
use longtail_models::{Classifier, ClassifierConfig, CosineConfig, HeadConfig, ProjectionConfig};
use serde::{Deserialize, Serialize};

use super::config::check_number;
use super::start::SchemeStart;
use super::step::{Forward, SchemeStep, SecondHead, StageLosses};
use super::teacher;
use crate::error::TrainingError;
use crate::recipe_file::refuse;
use crate::settings::Precision;
use crate::tensors::NamedTensors;

/// Configuration of [`Scheme::ClassBalancedDistillation`](super::Scheme).
///
/// `L = (1 - alpha) L_labels + alpha beta L_features`, where `L_features` is one minus the cosine
/// between the student's features and those of the teachers. The loss of the labels is that of the
/// recipe. Source: Iscen et al., BMVC 2021, <https://arxiv.org/abs/2104.05279>; defaults are those
/// of the released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassBalancedDistillationConfig {
    /// Folders or checkpoints of finished runs; several are an ensemble. `{seed}` stands for the
    /// seed. They are used in evaluation mode and stay as they are.
    pub teachers: Vec<PathBuf>,
    /// Weight of the features against the labels. Default: 0.4.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// Factor of the loss of the features. Default: 100.
    #[serde(default = "beta")]
    pub beta: f64,
    /// Width of the student's projection, which must be that of all teachers' features together.
    /// Default: the width of the student's backbone for each teacher, which fits teachers of the
    /// same backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// The student's classifier, instead of `model.head`. Default: cosine, scale 20, no bias.
    #[serde(default = "cosine")]
    pub head: HeadConfig,
    /// Which image comes when, instead of `sampler`. Default: images copied or dropped until
    /// classes are equal in expectation.
    #[serde(default = "copies")]
    pub sampler: SamplerConfig,
}

fn alpha() -> f64 {
    0.4
}

fn beta() -> f64 {
    100.0
}

fn cosine() -> HeadConfig {
    HeadConfig::Cosine(CosineConfig::class_balanced_distillation())
}

fn copies() -> SamplerConfig {
    SamplerConfig::ClassBalancedCopies
}

impl ClassBalancedDistillationConfig {
    pub(super) fn check(&self) -> Result<(), TrainingError> {
        if self.teachers.is_empty() {
            return Err(refuse("scheme.teachers", "empty; name at least one finished run"));
        }
        let Self { alpha, beta, .. } = *self;
        check_number("scheme.alpha", alpha, (0.0..=1.0).contains(&alpha), "in [0, 1]")?;
        let is_allowed = beta.is_finite() && beta >= 0.0;
        check_number("scheme.beta", beta, is_allowed, "a number of at least 0")
    }

    /// The student in place of the model of the recipe.
    pub(super) fn student(&self, model: &ClassifierConfig) -> ClassifierConfig {
        let each = model.backbone.num_features();
        let width = self.projection.unwrap_or(self.teachers.len() * each);
        let projection = Some(ProjectionConfig { width });
        ClassifierConfig { head: self.head.clone(), projection, ..model.clone() }
    }
}

/// The teachers, beside the student that the optimizer moves.
pub(crate) struct ClassBalancedStep {
    loader: Loader,
    teachers: Vec<Classifier>,
    weights: [f64; 2], // alpha, beta
    precision: Precision,
}

impl ClassBalancedStep {
    pub(super) fn new(
        start: &SchemeStart,
        config: &ClassBalancedDistillationConfig,
    ) -> Result<Self, TrainingError> {
        let device = start.device.clone().without_autodiff();
        let load = |path: &PathBuf| -> Result<Classifier, TrainingError> {
            let teacher = teacher::load("scheme.teachers", path, &start.recipe, &device)?;
            Ok(teacher.model().for_inference())
        };
        let teachers = config.teachers.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let together: usize = teachers.iter().map(Classifier::num_features).sum();
        let own = start.model.num_features();
        if together != own {
            let problem =
                format!("{own}, but the features of all teachers have {together} numbers");
            return Err(refuse("scheme.projection", problem));
        }
        Ok(Self {
            loader: start.loader(config.sampler)?,
            teachers,
            weights: [config.alpha, config.beta],
            precision: start.recipe.precision,
        })
    }

    /// Features of all teachers side by side, each of length 1. No autodiff.
    fn teacher_features(&self, images: &Tensor<4>) -> Tensor<2> {
        together(self.teachers.iter().map(|teacher| teacher.features(images.clone())))
    }
}

/// Features of several models side by side, each of length 1.
fn together(features: impl Iterator<Item = Tensor<2>>) -> Tensor<2> {
    Tensor::cat(features.map(unit_rows).collect(), 1)
}

/// `(1 - alpha) by_labels + alpha beta by_features`
fn whole_loss(by_labels: Tensor<1>, by_features: Tensor<1>, [alpha, beta]: [f64; 2]) -> Tensor<1> {
    by_labels.mul_scalar(1.0 - alpha) + by_features.mul_scalar(alpha * beta)
}

impl SchemeStep for ClassBalancedStep {
    type Model = Classifier;
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
        model: &Classifier,
        losses: &StageLosses,
        batch: Batch,
        device: &Device,
    ) -> Result<Forward, TrainingError> {
        let labels = batch.labels.clone();
        let row_labels = RowLabels::from_host(&labels, losses.main.num_labels(), device)?;
        let images = batch.to_device(device).images;
        let teacher = self.teacher_features(&images.clone().without_autodiff());
        let features = model.features(self.precision.cast(images));
        let logits = model.head.forward(features.clone());
        let output = losses.main.forward(logits.clone(), row_labels)?;
        let distance = feature_distillation(features, teacher);
        Ok(Forward {
            loss: whole_loss(output.loss.clone(), distance.clone(), self.weights),
            parts: vec![("loss_labels", output.loss), ("loss_features", distance)],
            logits,
            labels,
            updates: [output.update, StatisticsUpdate::None],
        })
    }

    fn classifier(model: &Classifier) -> &Classifier {
        model
    }

    fn second_head(_model: &Classifier) -> Option<SecondHead<'_>> {
        None
    }

    /// Teachers stay as they are.
    fn collect(&self, _tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        Ok(())
    }

    fn restore(self, _tensors: &mut NamedTensors) -> Result<Self, String> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use longtail_losses::{CrossEntropyConfig, LossMethod, Reduction};
    use longtail_models::{ClassifierHead, WeightInit};
    use longtail_testing::{assert_close, device, values};
    use serde_json::Value;

    /// Two teachers, from xtask/reference/distillation.py.
    #[test]
    fn loss_and_gradient_are_those_of_the_reference() {
        let cases: Value =
            serde_json::from_str(include_str!("../../../losses/tests/data/distillation.json"))
                .unwrap();
        let case = &cases["class_balanced"];
        let floats = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let device = device().autodiff();
        let input = |index: usize, device: &Device| -> Tensor<2> {
            let shape: Vec<usize> =
                floats(&case["shapes"][index]).into_iter().map(|size| size as usize).collect();
            let data = TensorData::new(floats(&case["inputs"][index]), shape);
            Tensor::from_data(data.convert::<f32>(), device)
        };
        let plain = longtail_testing::device();
        let student = input(0, &device).require_grad();
        let init = WeightInit::new(0, &device);
        let mut head = cosine().init(6, 5, None, &init).unwrap();
        if let ClassifierHead::Cosine(cosine) = &mut head {
            cosine.weight = cosine.weight.clone().map(|_| input(1, &device));
        }
        let teacher = together([input(2, &plain), input(3, &plain)].into_iter());
        let labels: Vec<usize> =
            floats(&case["labels"]).into_iter().map(|label| label as usize).collect();
        let labels = RowLabels::from_host(&labels, 5, &device).unwrap();
        let by_labels = CrossEntropyConfig::default()
            .init(5)
            .forward_with(head.forward(student.clone()), labels, Reduction::Mean)
            .unwrap()
            .loss;
        let by_features = feature_distillation(student.clone(), teacher);
        let loss = whole_loss(by_labels, by_features, [alpha(), beta()]);
        let gradient = student.grad(&loss.backward()).unwrap();
        assert_close("loss", &values(loss), &[case["loss"].as_f64().unwrap()], 1e-5);
        assert_close("gradient", &values(gradient), &floats(&case["gradient"]), 1e-5);
    }
}
