//! Meta Sampler as a task of the training loop.

use burn::tensor::{Device, Tensor};
use longtail_data::DataError;
use longtail_eval::ClassificationReport;
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig, Reduction, RowLabels,
};
use longtail_models::Linear;

use super::class_draw::{ClassDraw, Drawn};
use super::core::{Core, all_used};
use super::features::{CachedFeatures, LiveImages, Rows};
use super::meta_config::MetaSamplerConfig;
use super::meta_set::MetaSet;
use super::rate_gradient::{first_rates, rate_gradient};
use super::start::Base;
use super::training::FeatureSource;
use crate::checkpoint::RunState;
use crate::classification::ClassificationTask;
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::meta::{ClassRates, LayerGradient, PlainLayer, SgdStep, linear_layer, logit_gradient};
use crate::metrics::Losses;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::refuse;
use crate::run::Plan;
use crate::run_folder::RunFolder;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A linear classifier in training, and the rates at which the images of each class are drawn.
///
/// A step draws a batch by the rates, moves the classifier by the loss of the batch, and then moves
/// the rates so that the classifier would have done better on a meta batch in which classes are
/// equally often: by the gradient of plain cross-entropy there through the step. That gradient is in
/// closed form, with momentum and weight decay; the draws are described in [`ClassDraw`]'s module.
/// Nothing is read back where features are cached.
pub(super) struct MetaSamplerTask {
    core: Core,
    rows: Rows,
    draw: ClassDraw,
    meta: MetaSet,
    meta_loss: ClassificationLoss,
    rates: ClassRates,
    optimizer: OptimizerConfig,
    batch_size: usize,
    steps_per_epoch: u64,
    pending: Option<Pending>,
}

/// A batch between its backward and the step.
struct Pending {
    step: u64,
    drawn: Drawn,
    rows: Tensor<2>,      // [slots, num_features]
    by_logits: Tensor<2>, // of the losses of the rows, [slots, num_logits]
    gradient: LayerGradient,
}

/// Which batch is to be drawn.
pub(super) struct DrawKey {
    step: u64,
    num_slots: usize,
    size: [usize; 2],
}

impl MetaSamplerTask {
    /// A stage at its start.
    pub(super) fn new(
        base: &Base,
        config: &MetaSamplerConfig,
    ) -> Result<(Self, Plan), TrainingError> {
        let (recipe, training) = (&base.recipe, &config.training);
        let core = Core::new(base, training)?;
        layer_of(&core)?;
        let rows = match training.features {
            FeatureSource::Cached { passes } => {
                let model = base.trained.model();
                let (set, device) = (&base.train, &base.device);
                Rows::Cached(CachedFeatures::new(model, set, passes, recipe, device)?)
            }
            FeatureSource::Live {} => {
                let (set, pipeline) = (base.train.clone(), recipe.transforms.train_pipeline()?);
                Rows::Live(LiveImages { set, pipeline, seed: recipe.seed })
            }
        };
        let batch_size = training.batch_size.min(base.train.len());
        let steps_per_epoch = (base.train.len() / batch_size.max(1)).max(1) as u64;
        let plan = Core::plan(recipe, training, steps_per_epoch)?;
        let first = first_rates(base.counts.instance_counts(), config.init_power);
        let meta_loss = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default());
        let task = Self {
            meta: MetaSet::new(base, config, &rows)?,
            rows,
            draw: ClassDraw::new(base.train.indices_by_class(), recipe.seed),
            meta_loss: meta_loss.init(&base.counts, &base.device)?,
            rates: ClassRates::new(&first, config.rate_lr, &base.device),
            optimizer: training.optimizer.clone(),
            batch_size,
            steps_per_epoch,
            pending: None,
            core,
        };
        Ok((task, plan))
    }

    fn plain_device(&self) -> Device {
        self.core.learner.device().clone().without_autodiff()
    }

    /// Moves the rates by the meta batch of the step that was just taken.
    fn move_rates(&mut self, batch: Pending, lr: f64) -> Result<(), TrainingError> {
        let Pending { step, drawn, rows, by_logits, .. } = batch;
        let Some(sgd) = SgdStep::new(&self.optimizer, lr) else { return Ok(()) };
        let (indices, labels) = self.meta.batch(step);
        let epoch = step / self.steps_per_epoch;
        let meta_rows = self.core.chosen(&self.meta.rows, &indices, epoch, step)?;
        let num_labels = self.meta_loss.num_labels();
        let labels = RowLabels::from_host(&labels, num_labels, &self.plain_device())?;
        let layer = layer_of(&self.core)?;
        let logits = PlainLayer::of(layer).forward(meta_rows.clone());
        let meta = logit_gradient(&self.meta_loss, logits, labels, Reduction::Mean)?;
        let meta = LayerGradient::new(meta.by_logits, meta_rows, layer);
        let alignment = meta.alignment(by_logits, rows);
        let rates = self.rates.rates();
        self.rates.update(rate_gradient(rates, &drawn, alignment, sgd.reach()));
        Ok(())
    }
}

/// The linear layer that is trained.
fn layer_of(core: &Core) -> Result<&Linear, TrainingError> {
    let head = &core.learner.model.head;
    linear_layer(head).ok_or_else(|| {
        let problem = format!("{}, but Meta Sampler needs a linear head", head.name());
        refuse("stage_two.head.kind", problem)
    })
}

impl Task for MetaSamplerTask {
    type Batch = DrawKey;
    type Batches = std::vec::IntoIter<Result<DrawKey, DataError>>;
    type Report = ClassificationReport;

    fn begin_epoch(&mut self, _epoch: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> Self::Batches {
        let (num_slots, size) = (self.batch_size, self.core.image_size());
        let key = |batch: u64| {
            Ok(DrawKey { step: epoch * self.steps_per_epoch + batch, num_slots, size })
        };
        (start as u64..self.steps_per_epoch).map(key).collect::<Vec<_>>().into_iter()
    }

    fn shape(batch: &DrawKey) -> (usize, [usize; 2]) {
        (batch.num_slots, batch.size)
    }

    fn accumulate(&mut self, batch: DrawKey, _key: u64) -> Result<(), TrainingError> {
        let DrawKey { step, num_slots, .. } = batch;
        let noise = self.draw.noise(step, num_slots, self.core.learner.device());
        let drawn = noise.draw(self.rates.rates());
        let epoch = step / self.steps_per_epoch;
        let rows = self.core.drawn(&self.rows, drawn.images.clone(), epoch, step)?;
        let layer = layer_of(&self.core)?;
        let logits = PlainLayer::of(layer).forward(rows.clone());
        let labels = RowLabels::classes(drawn.labels.clone());
        let loss = logit_gradient(&self.core.loss, logits.clone(), labels, Reduction::Mean)?;
        let gradient = LayerGradient::new(loss.by_logits.clone(), rows.clone(), layer);
        let by_logits = loss.by_logits * num_slots as f64; // of each row by itself
        self.core.update = loss.update;
        self.core.watch(loss.loss, logits, drawn.labels.clone())?;
        self.pending = Some(Pending { step, drawn, rows, by_logits, gradient });
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let Some(batch) = self.pending.take() else { return Ok(()) };
        let gradients = batch.gradient.named(layer_of(&self.core)?);
        self.core.learner.update(lr, gradients);
        self.core.loss.apply(std::mem::take(&mut self.core.update))?;
        self.move_rates(batch, lr)
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
        let mut tensors = self.core.collect(state)?;
        self.rates.collect(&mut tensors)?;
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.core = self.core.restore(&mut tensors, state)?;
        self.rates = self.rates.restore(&mut tensors, state.step)?;
        all_used(&tensors).map(|()| self)
    }

    /// Writes the rates too, as `class_rates.json`: a number per class, in the order of labels.
    fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.core.finish(report, folder)?;
        let text = serde_json::to_string(&self.rates.read()?).unwrap_or_default();
        write_whole(&folder.path().join("class_rates.json"), |file| file.write_all(text.as_bytes()))
    }
}
