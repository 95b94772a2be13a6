//! Second stages that train a classifier on batches in a fixed order.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use longtail_data::{Batch, DataError, Epoch, Loader, LoaderConfig, Sampler, SamplerConfig};
use longtail_eval::ClassificationReport;
use longtail_losses::{RowLabels, effective_number_weights};

use super::core::{Core, all_used};
use super::features::{CachedFeatures, upload};
use super::start::Base;
use super::training::{FeatureSource, StageTraining};
use crate::checkpoint::RunState;
use crate::classification::ClassificationTask;
use crate::error::TrainingError;
use crate::metrics::Losses;
use crate::run::Plan;
use crate::run_folder::RunFolder;
use crate::settings::ReweightingConfig;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A classifier in training on rows that a sampler puts in order.
pub(super) struct RetrainTask {
    core: Core,
    source: Source,
    reweighting: Option<(ReweightingConfig, Vec<f64>)>,
    is_reweighted: bool,
    gradients: Option<GradientsParams>,
}

#[expect(clippy::large_enum_variant, reason = "one lives per run")]
enum Source {
    Cached { features: CachedFeatures, sampler: Sampler, labels: Vec<usize>, batch_size: usize },
    Live(Loader),
}

/// A batch of images, or of rows that were cached.
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
pub(super) enum RowBatch {
    Images(Batch),
    Rows { rows: Tensor<2>, labels: Vec<usize>, size: [usize; 2] },
}

/// The batches of an epoch.
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
pub(super) enum RowBatches {
    Live(Epoch),
    Cached(CachedBatches),
}

/// Batches of cached rows, selected as they are asked for.
pub(super) struct CachedBatches {
    features: CachedFeatures,
    epoch: u64,
    /// Indices and labels of each batch.
    batches: std::vec::IntoIter<(Vec<usize>, Vec<usize>)>,
    size: [usize; 2],
}

impl CachedBatches {
    fn next(&mut self) -> Option<RowBatch> {
        let (indices, labels) = self.batches.next()?;
        let rows = self.features.select(self.epoch, &indices);
        Some(RowBatch::Rows { rows, labels, size: self.size })
    }
}

impl Iterator for RowBatches {
    type Item = Result<RowBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Live(epoch) => Some(epoch.next()?.map(RowBatch::Images)),
            Self::Cached(batches) => batches.next().map(Ok),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Live(epoch) => epoch.size_hint(),
            Self::Cached(batches) => batches.batches.size_hint(),
        }
    }
}

impl ExactSizeIterator for RowBatches {}

impl RetrainTask {
    /// A stage at its start.
    pub(super) fn new(
        base: &Base,
        training: &StageTraining,
        sampler: SamplerConfig,
        reweighting: Option<ReweightingConfig>,
    ) -> Result<(Self, Plan), TrainingError> {
        let recipe = &base.recipe;
        let batch_size = training.batch_size.min(base.train.len());
        let source = match training.features {
            FeatureSource::Cached { passes } => {
                let model = base.trained.model();
                let set = &base.train;
                Source::Cached {
                    features: CachedFeatures::new(model, set, passes, recipe, &base.device)?,
                    sampler: Sampler::new(sampler, set, recipe.seed)?,
                    labels: set.labels().to_vec(),
                    batch_size,
                }
            }
            FeatureSource::Live {} => {
                let config = LoaderConfig {
                    batch_size,
                    workers: recipe.run.workers,
                    seed: recipe.seed,
                    drop_last: true,
                    ..Default::default()
                };
                let pipeline = recipe.transforms.train_pipeline()?;
                Source::Live(Loader::new(base.train.clone(), pipeline, sampler, config)?)
            }
        };
        let steps_per_epoch = (base.train.len() / batch_size.max(1)) as u64;
        let plan = Core::plan(recipe, training, steps_per_epoch)?;
        let reweighting = match reweighting {
            Some(config) => {
                config.check_length("stage_two.reweighting", plan.num_epochs)?;
                let weights = effective_number_weights(base.counts.instance_counts(), config.beta)?;
                Some((config, weights))
            }
            None => None,
        };
        let core = Core::new(base, training)?;
        if let Some((_, weights)) = &reweighting {
            // A loss without a place for weights is refused before training.
            core.loss.clone().reweighted(weights, core.learner.device())?;
        }
        Ok((Self { core, source, reweighting, is_reweighted: false, gradients: None }, plan))
    }
}

impl Task for RetrainTask {
    type Batch = RowBatch;
    type Batches = RowBatches;
    type Report = ClassificationReport;

    fn begin_epoch(&mut self, epoch: u64) -> Result<(), TrainingError> {
        if let Some((config, weights)) = &self.reweighting
            && epoch >= config.from_epoch
            && !self.is_reweighted
        {
            let loss = self.core.loss.clone();
            self.core.loss = loss.reweighted(weights, self.core.learner.device())?;
            self.is_reweighted = true;
        }
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> RowBatches {
        match &self.source {
            Source::Live(loader) => RowBatches::Live(loader.epoch(epoch, start)),
            Source::Cached { features, sampler, labels, batch_size } => {
                let batch = |indices: &[usize]| {
                    (indices.to_vec(), indices.iter().map(|&index| labels[index]).collect())
                };
                let order = sampler.order(epoch);
                let whole = order.chunks_exact((*batch_size).max(1)).skip(start);
                RowBatches::Cached(CachedBatches {
                    features: features.clone(),
                    epoch,
                    batches: whole.map(batch).collect::<Vec<_>>().into_iter(),
                    size: self.core.image_size(),
                })
            }
        }
    }

    fn shape(batch: &RowBatch) -> (usize, [usize; 2]) {
        match batch {
            RowBatch::Images(batch) => (batch.len(), batch.size),
            RowBatch::Rows { labels, size, .. } => (labels.len(), *size),
        }
    }

    fn accumulate(&mut self, batch: RowBatch, _key: u64) -> Result<(), TrainingError> {
        let device = self.core.learner.device().clone();
        let (rows, labels) = match batch {
            RowBatch::Rows { rows, labels, .. } => (rows, labels),
            RowBatch::Images(batch) => {
                let labels = batch.labels.clone();
                (self.core.features(batch), labels)
            }
        };
        let row_labels = RowLabels::from_host(&labels, self.core.loss.num_labels(), &device)?;
        let logits = self.core.learner.model.head.forward(Tensor::from_inner(rows));
        let output = self.core.loss.forward(logits.clone(), row_labels)?;
        let (loss, logits) = (output.loss.clone().without_autodiff(), logits.without_autodiff());
        self.core.watch(loss, logits, upload(&labels, &device))?;
        let gradients = output.loss.backward();
        self.gradients = Some(GradientsParams::from_grads(gradients, &self.core.learner.model));
        self.core.update = output.update;
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        self.core.learner.update(lr, self.gradients.take().unwrap_or_default());
        Ok(self.core.loss.apply(std::mem::take(&mut self.core.update))?)
    }

    fn check_replicas(&self, _step: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        self.core.read_losses()
    }

    fn evaluate(&self, _is_final: bool) -> Result<ClassificationReport, TrainingError> {
        self.core.evaluate()
    }

    fn summary(report: &ClassificationReport) -> Summary {
        ClassificationTask::summary(report)
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        self.core.collect(state)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.core = self.core.restore(&mut tensors, state)?;
        all_used(&tensors).map(|()| self)
    }

    fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.core.finish(report, folder)
    }
}
