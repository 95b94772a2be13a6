//! Breadcrumb: a classifier on features of past epochs, beside one on the images as they come.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use longtail_data::{Batch, DataError, Epoch, Loader, SamplerConfig};
use longtail_losses::RowLabels;
use longtail_models::Classifier;
use serde::{Deserialize, Serialize};

use super::feature_trail::FeatureTrail;
use super::start::SchemeStart;
use super::step::{Forward, SchemeStep, SecondHead, StageLosses};
use super::two_heads::TwoHeads;
use crate::error::TrainingError;
use crate::recipe_file::refuse;
use crate::settings::Precision;
use crate::tensors::NamedTensors;

/// Configuration of [`Scheme::Breadcrumb`](super::Scheme).
///
/// Two heads on one backbone. The random head and the backbone learn from the images of the recipe's
/// sampler by its loss; the balanced head learns by cross-entropy from as many features of each
/// class: the newest ones, from as many past epochs as that takes, each less the mean of its class in
/// its epoch plus the mean in the last. Until every class has enough of them it learns from images
/// of a class-balanced sampler. The backbone sees nothing of its loss. The balanced head is what
/// the run's report, checkpoints and weights are about; the random head's report is in
/// `random_head`. Source: Liu et al., <https://arxiv.org/abs/2105.00127>, and the released code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreadcrumbConfig {
    /// Features of each class. Default: the images of an epoch over the number of classes, rounded
    /// up, as in the released code. With fewer, the balanced head sees each several times an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features_per_class: Option<usize>,
    /// Which image comes when for the balanced head, until there are enough features. Default:
    /// classes in turn, four images of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<SamplerConfig>,
}

impl BreadcrumbConfig {
    pub(super) fn check(&self) -> Result<(), TrainingError> {
        match self.features_per_class {
            Some(0) => Err(refuse("scheme.features_per_class", "0 is not at least 1")),
            _ => Ok(()),
        }
    }

    fn sampler(&self) -> SamplerConfig {
        self.sampler.unwrap_or(SamplerConfig::ClassAware { images_per_class: 4 })
    }
}

/// The stored features, and the two orders of images.
pub(crate) struct BreadcrumbStep {
    random: Loader,
    balanced: Loader,
    trail: FeatureTrail,
    seed: u64,
    batch_size: usize,
    drop_last: bool,
    precision: Precision,
}

/// A batch for each head.
pub(crate) struct Pair {
    random: Batch,
    balanced: Balanced,
}

/// What the balanced head learns from.
enum Balanced {
    Images(Batch),
    /// Indices of stored features.
    Stored(Vec<usize>),
}

/// The batches of an epoch.
pub(crate) struct Pairs {
    random: Epoch,
    balanced: BalancedBatches,
}

enum BalancedBatches {
    Images(Epoch),
    Stored(std::vec::IntoIter<Vec<usize>>),
}

impl BalancedBatches {
    fn next(&mut self) -> Result<Balanced, DataError> {
        match self {
            Self::Images(epoch) => match epoch.next() {
                Some(batch) => Ok(Balanced::Images(batch?)),
                None => Ok(Balanced::Stored(Vec::new())),
            },
            Self::Stored(batches) => Ok(Balanced::Stored(batches.next().unwrap_or_default())),
        }
    }
}

impl Iterator for Pairs {
    type Item = Result<Pair, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let random = self.random.next()?;
        let balanced = self.balanced.next();
        Some(random.and_then(|random| Ok(Pair { random, balanced: balanced? })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.random.size_hint()
    }
}

impl ExactSizeIterator for Pairs {}

impl BreadcrumbStep {
    pub(super) fn new(
        start: &SchemeStart,
        config: &BreadcrumbConfig,
    ) -> Result<Self, TrainingError> {
        let recipe = &start.recipe;
        let random = start.loader(recipe.sampler)?;
        let pipeline = recipe.transforms.train_pipeline()?;
        let balanced = start.loader(config.sampler())?.second_view(pipeline);
        let counts = start.counts.image_counts();
        let num_classes = counts.iter().filter(|&&count| count > 0).count();
        let images = images_per_epoch(&random, recipe.batch_size, recipe.drop_last);
        let usual = images.div_ceil(num_classes.max(1));
        let per_class = config.features_per_class.unwrap_or(usual);
        Ok(Self {
            random,
            balanced,
            trail: FeatureTrail::new(per_class, counts, &start.device),
            seed: recipe.seed,
            batch_size: recipe.batch_size,
            drop_last: recipe.drop_last,
            precision: recipe.precision,
        })
    }

    /// Features and labels for the balanced head, without autodiff.
    fn balanced_rows(
        &self,
        model: &TwoHeads,
        batch: Balanced,
        device: &Device,
    ) -> (Tensor<2>, Vec<usize>) {
        let width = model.classifier.num_features();
        let none = || (Tensor::zeros([0, width], &device.clone().without_autodiff()), Vec::new());
        match batch {
            Balanced::Stored(indices) if indices.is_empty() => none(),
            Balanced::Stored(indices) => self.trail.select(&indices).unwrap_or_else(none),
            Balanced::Images(batch) => {
                let labels = batch.labels.clone();
                let images = self.precision.cast(batch.to_device(device).images);
                // Batch norms use the batch; the running statistics that move are the copy's.
                let copy = model.classifier.clone().no_grad();
                (copy.features(images).without_autodiff(), labels)
            }
        }
    }
}

fn images_per_epoch(loader: &Loader, batch_size: usize, drop_last: bool) -> usize {
    match drop_last {
        true => loader.num_batches() * batch_size,
        false => loader.sampler().len(),
    }
}

impl SchemeStep for BreadcrumbStep {
    type Model = TwoHeads;
    type Batch = Pair;
    type Batches = Pairs;

    fn begin_epoch(&mut self, epoch: u64) {
        self.trail.begin_epoch(epoch);
    }

    fn num_batches(&self) -> usize {
        self.random.num_batches()
    }

    fn batches(&self, epoch: u64, start: usize) -> Pairs {
        let balanced = if self.trail.is_ready() {
            let total = images_per_epoch(&self.random, self.batch_size, self.drop_last);
            let order = self.trail.order(self.seed, epoch, total);
            let chunks = order.chunks(self.batch_size).skip(start).map(<[usize]>::to_vec);
            BalancedBatches::Stored(chunks.collect::<Vec<_>>().into_iter())
        } else {
            BalancedBatches::Images(self.balanced.epoch(epoch, start))
        };
        Pairs { random: self.random.epoch(epoch, start), balanced }
    }

    fn images(batch: &Pair) -> &Batch {
        &batch.random
    }

    fn forward(
        &mut self,
        model: &TwoHeads,
        losses: &StageLosses,
        batch: Pair,
        device: &Device,
    ) -> Result<Forward, TrainingError> {
        let (rows, labels) = self.balanced_rows(model, batch.balanced, device);
        let row_labels = RowLabels::from_host(&labels, losses.main.num_labels(), device)?;
        let logits = model.classifier.head.forward(Tensor::from_inner(rows));
        let balanced = losses.main.forward(logits.clone(), row_labels)?;

        let random_labels = batch.random.labels.clone();
        let loss = losses.of_labels();
        let row_labels = RowLabels::from_host(&random_labels, loss.num_labels(), device)?;
        let images = self.precision.cast(batch.random.to_device(device).images);
        let features = model.classifier.features(images);
        self.trail.push(features.clone().without_autodiff(), &random_labels);
        let random = loss.forward(model.second.forward(features), row_labels)?;
        Ok(Forward {
            loss: balanced.loss.clone() + random.loss.clone(),
            parts: vec![("loss_balanced", balanced.loss), ("loss_random", random.loss)],
            logits,
            labels,
            updates: [balanced.update, random.update],
        })
    }

    fn classifier(model: &TwoHeads) -> &Classifier {
        &model.classifier
    }

    fn second_head(model: &TwoHeads) -> Option<SecondHead<'_>> {
        Some(SecondHead { name: "random_head", head: &model.second })
    }

    fn collect(&self, tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        self.trail.collect(tensors)
    }

    fn restore(mut self, tensors: &mut NamedTensors) -> Result<Self, String> {
        self.trail = self.trail.restore(tensors)?;
        Ok(self)
    }
}
