//! Self-Supervised-to-Distillation, first stage: a classifier that also tells images apart.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use longtail_data::{Batch, DataError, Epoch, Loader, Pipeline, Transform};
use longtail_kernels::linear_relu;
use longtail_losses::{RowLabels, StatisticsUpdate, label_contrast, unit_rows};
use longtail_models::{Classifier, Linear, LinearConfig, WeightInit};
use serde::{Deserialize, Serialize};

use super::config::check_number;
use super::key_queue::KeyQueue;
use super::momentum::{follow, follower};
use super::start::SchemeStart;
use super::step::{Forward, SchemeStep, SecondHead, StageLosses};
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::{check_counts, refuse};
use crate::settings::Precision;
use crate::tensors::{NamedTensors, collect, restore};

/// Configuration of [`Scheme::Contrast`](super::Scheme).
///
/// `L = L_labels + weight L_contrast`, with the loss of the recipe for the labels and
/// [`label_contrast`] between two views of each image and the last `queue_length` keys. Keys come
/// from a momentum encoder. Source: Li et al., ICCV 2021, <https://arxiv.org/abs/2109.04075>, on MoCo,
/// <https://arxiv.org/abs/1911.05722>; defaults are those of the released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastConfig {
    /// Keys that images are told from: a multiple of `batch_size`. The authors take 115,712 for
    /// ImageNet-LT with its 115,846 images, so nearly a whole epoch. No default.
    pub queue_length: usize,
    /// By what cosines are divided. Default: 0.2.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// Of the encoder of the keys, which follows the trained one. Default: 0.999.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// Of the contrastive loss. Default: 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// Width of queries and keys. Default: 128.
    #[serde(default = "width")]
    pub width: usize,
    /// Transforms of the second view, that of the keys. Default: those of the training images, drawn
    /// anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_transforms: Option<Vec<Transform>>,
}

fn temperature() -> f64 {
    0.2
}

fn momentum() -> f64 {
    0.999
}

fn one() -> f64 {
    1.0
}

fn width() -> usize {
    128
}

impl ContrastConfig {
    pub(super) fn check(&self, recipe: &Recipe) -> Result<(), TrainingError> {
        let Self { queue_length, temperature, momentum, weight, width, .. } = *self;
        check_counts(&[
            ("scheme.queue_length", Some(queue_length as u64)),
            ("scheme.width", Some(width as u64)),
        ])?;
        let batch_size = recipe.batch_size;
        if batch_size > 0 && !queue_length.is_multiple_of(batch_size) {
            let below = queue_length / batch_size * batch_size;
            let problem = format!(
                "{queue_length} is no multiple of `batch_size`, {batch_size}: try {}",
                below.max(batch_size)
            );
            return Err(refuse("scheme.queue_length", problem));
        }
        if !recipe.drop_last {
            let problem = "false: every batch must fit into the queue; set it to true";
            return Err(refuse("drop_last", problem));
        }
        let is_allowed = temperature.is_finite() && temperature > 0.0;
        check_number("scheme.temperature", temperature, is_allowed, "a positive number")?;
        check_number("scheme.momentum", momentum, (0.0..=1.0).contains(&momentum), "in [0, 1]")?;
        let is_allowed = weight.is_finite() && weight >= 0.0;
        check_number("scheme.weight", weight, is_allowed, "a number of at least 0")
    }

    fn key_pipeline(&self, recipe: &Recipe) -> Result<Pipeline, TrainingError> {
        let usual = recipe.transforms.train_pipeline()?;
        Ok(match &self.key_transforms {
            Some(transforms) => Pipeline::new(transforms.clone(), usual.normalize())?,
            None => usual,
        })
    }
}

/// Features to directions: two linear layers with a ReLU between them, then length 1.
#[derive(Module, Debug)]
struct Projector {
    hidden: Linear,
    output: Linear,
}

impl Projector {
    fn new(num_features: usize, width: usize, init: &WeightInit) -> Result<Self, TrainingError> {
        let layer = |columns, name: &str| {
            LinearConfig::default().init(num_features, columns, None, &init.child(name))
        };
        Ok(Self { hidden: layer(num_features, "hidden")?, output: layer(width, "output")? })
    }

    /// `[rows, num_features]` to `[rows, width]`.
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (&self.hidden.weight, &self.hidden.bias);
        let hidden = linear_relu(features, weight.val(), bias.as_ref().map(Param::val));
        unit_rows(self.output.forward(hidden))
    }
}

/// The classifier that is evaluated, with its contrastive branch.
#[derive(Module, Debug)]
pub(crate) struct Contrasted {
    classifier: Classifier,
    projector: Projector,
}

/// The encoder of the keys, the queue, and the two views.
pub(crate) struct ContrastStep {
    queries: Loader,
    keys: Loader,
    /// Follows the model; its head is not used.
    encoder: Contrasted,
    queue: KeyQueue,
    config: ContrastConfig,
    precision: Precision,
}

/// The same images twice.
pub(crate) struct Views {
    query: Batch,
    key: Batch,
}

/// The batches of an epoch.
pub(crate) struct ViewBatches {
    queries: Epoch,
    keys: Epoch,
}

impl Iterator for ViewBatches {
    type Item = Result<Views, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (query, key) = (self.queries.next()?, self.keys.next()?);
        Some(query.and_then(|query| Ok(Views { query, key: key? })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.queries.size_hint()
    }
}

impl ExactSizeIterator for ViewBatches {}

impl ContrastStep {
    pub(super) fn new(
        start: &SchemeStart,
        config: &ContrastConfig,
    ) -> Result<(Contrasted, Self), TrainingError> {
        let (recipe, device) = (&start.recipe, &start.device);
        let init = WeightInit::new(recipe.seed, device).child("projector");
        let classifier = start.model.clone();
        let projector = Projector::new(classifier.num_features(), config.width, &init)?;
        let model = Contrasted { classifier, projector };
        let queries = start.loader(recipe.sampler)?;
        let size = [config.queue_length, config.width];
        let step = Self {
            keys: queries.second_view(config.key_pipeline(recipe)?),
            queries,
            encoder: follower(&model),
            queue: KeyQueue::new(size, start.losses.main.num_labels(), recipe.seed, device),
            config: config.clone(),
            precision: recipe.precision,
        };
        Ok((model, step))
    }

    /// Keys of images, without autodiff; the encoder's running statistics move.
    fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.encoder.classifier.features(self.precision.cast(images));
        self.encoder.projector.forward(features).without_autodiff()
    }
}

impl SchemeStep for ContrastStep {
    type Model = Contrasted;
    type Batch = Views;
    type Batches = ViewBatches;

    fn begin_epoch(&mut self, _epoch: u64) {}

    fn num_batches(&self) -> usize {
        self.queries.num_batches()
    }

    fn batches(&self, epoch: u64, start: usize) -> ViewBatches {
        let (queries, keys) = (self.queries.epoch(epoch, start), self.keys.epoch(epoch, start));
        ViewBatches { queries, keys }
    }

    fn images(batch: &Views) -> &Batch {
        &batch.query
    }

    fn forward(
        &mut self,
        model: &Contrasted,
        losses: &StageLosses,
        batch: Views,
        device: &Device,
    ) -> Result<Forward, TrainingError> {
        let labels = batch.query.labels.clone();
        let row_labels = RowLabels::from_host(&labels, losses.main.num_labels(), device)?;
        self.encoder = follow(self.encoder.clone(), model, self.config.momentum);
        let query = batch.query.to_device(device);
        let keys = self.encode(batch.key.to_device(device).images);
        let classes = query.labels.without_autodiff();

        let features = model.classifier.features(self.precision.cast(query.images));
        let logits = model.classifier.head.forward(features.clone());
        let output = losses.main.forward(logits.clone(), row_labels)?;
        let contrast = label_contrast(
            model.projector.forward(features),
            keys.clone(),
            classes.clone(),
            self.queue.negatives(),
            self.config.temperature,
        );
        self.queue.push(keys, classes);
        Ok(Forward {
            loss: output.loss.clone() + contrast.clone().mul_scalar(self.config.weight),
            parts: vec![("loss_labels", output.loss), ("loss_contrast", contrast)],
            logits,
            labels,
            updates: [output.update, StatisticsUpdate::None],
        })
    }

    fn classifier(model: &Contrasted) -> &Classifier {
        &model.classifier
    }

    fn second_head(_model: &Contrasted) -> Option<SecondHead<'_>> {
        None
    }

    fn collect(&self, tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        collect("key_encoder", &self.encoder, tensors)?;
        self.queue.collect(tensors)
    }

    fn restore(mut self, tensors: &mut NamedTensors) -> Result<Self, String> {
        self.encoder = restore("key_encoder", self.encoder, tensors)?;
        self.queue = self.queue.restore(tensors)?;
        Ok(self)
    }
}
