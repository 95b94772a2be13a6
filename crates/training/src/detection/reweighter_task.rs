//! The second stage of a detector with Meta Reweighter, as a task of the training loop.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use longtail_data::{
    DataError, DetectionBatch, DetectionEpoch, DetectionLoader, DetectionSamplerConfig,
    RepeatFrequency,
};
use longtail_kernels::read_back;
use longtail_losses::{ClassificationLoss, Reduction};
use longtail_models::{Detector, Linear, RCnn, StepKey};
use longtail_types::ClassCounts;

use super::dataset::DetectionDatasets;
use super::recipe::DetectionRecipe;
use super::result::DetectionResult;
use super::reweighter::RegionRows;
use super::settings::MetaReweighterConfig;
use super::task::{DetectionTask, loader_config, plan};
use super::test_set::DetectionTestSet;
use crate::checkpoint::RunState;
use crate::classification::take_loss_state;
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::learner::Learner;
use crate::meta::{
    ClassRates, LayerGradient, PlainLayer, SgdStep, Velocity, linear_layer, logit_gradient,
};
use crate::metrics::{Losses, NamedNumbers};
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::refuse;
use crate::run::Plan;
use crate::run_folder::RunFolder;
use crate::settings::Precision;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;
use crate::window::Window;

/// The last layer of a box classifier in training, and the weights of the classes.
///
/// A step looks at a batch under the present weights and at the layer after a step of SGD on it,
/// which is not kept and not clipped; moves the weights by the gradient of the meta loss there
/// through that step, in closed form; and then takes the step under the new weights. The released
/// code does the same, but runs the batch a second time for the step, with other regions.
pub(super) struct ReweighterTask {
    seed: u64,
    precision: Precision,
    loader: DetectionLoader,
    meta: Arc<DetectionLoader>,
    test: DetectionTestSet,
    learner: Learner<Detector>,
    /// The detector outside autodiff; its classifier is not used.
    frozen: Detector,
    /// The loss of the meta batch, if it is not that of the detector.
    meta_loss: Option<ClassificationLoss>,
    rates: ClassRates,
    optimizer: OptimizerConfig,
    pending: Option<Pending>,
}

struct Pending {
    num_images: usize,
    rows: RegionRows,
    meta: RegionRows,
}

/// A batch, and a meta batch from images in which rare classes are as frequent as others.
pub(super) struct PairedBatch {
    main: DetectionBatch,
    meta: DetectionBatch,
}

/// The batches of an epoch. The meta batches of epoch `e` are those of the epochs
/// `e << 16, (e << 16) + 1, ..` of their own loader.
pub(super) struct PairedBatches {
    main: DetectionEpoch,
    meta: DetectionEpoch,
    loader: Arc<DetectionLoader>,
    meta_epoch: u64,
}

impl PairedBatches {
    fn new(main: DetectionEpoch, loader: Arc<DetectionLoader>, epoch: u64, start: usize) -> Self {
        let (mut meta_epoch, mut start) = (epoch << 16, start);
        loop {
            let num_batches = loader.num_batches(meta_epoch);
            if start < num_batches.max(1) {
                break;
            }
            (start, meta_epoch) = (start - num_batches, meta_epoch + 1);
        }
        Self { main, meta: loader.epoch(meta_epoch, start), loader, meta_epoch }
    }

    fn next_meta(&mut self) -> Option<Result<DetectionBatch, DataError>> {
        if let Some(batch) = self.meta.next() {
            return Some(batch);
        }
        self.meta_epoch += 1;
        self.meta = self.loader.epoch(self.meta_epoch, 0);
        self.meta.next()
    }
}

impl Iterator for PairedBatches {
    type Item = Result<PairedBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (main, meta) = (self.main.next()?, self.next_meta()?);
        Some(main.and_then(|main| Ok(PairedBatch { main, meta: meta? })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.main.size_hint()
    }
}

impl ExactSizeIterator for PairedBatches {}

impl ReweighterTask {
    /// The stage at its start, by the recipes of the run and of the stage. Everything of the detector
    /// but its classifier is frozen; it lives on `device`, which has autodiff.
    pub(super) fn new(
        (run, recipe): (&DetectionRecipe, &DetectionRecipe),
        config: MetaReweighterConfig,
        detector: Detector,
        data: DetectionDatasets,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<(Self, Plan), TrainingError> {
        layer_of(&detector)?;
        recipe.precision.check(device)?;
        let train = Arc::new(data.train);
        let pipeline = recipe.transforms.train_pipeline()?;
        let main = loader_config(recipe);
        let loader =
            DetectionLoader::new(train.clone(), pipeline.clone(), recipe.sampler, main.clone())?;
        // r(c) = 1 / f(c), the authors' sampler.
        let frequency = RepeatFrequency::Image;
        let sampler =
            DetectionSamplerConfig::RepeatFactor { threshold: 1.0, exponent: 1.0, frequency };
        let mut meta = main;
        meta.batch_size = config.meta_batch_size.unwrap_or(recipe.batch_size);
        meta.seed = recipe.seed.wrapping_add(1); // other orders than those of the training
        meta.drop_last = false;
        let meta = DetectionLoader::new(train, pipeline, sampler, meta)?;
        let plan = plan(recipe, loader.num_batches(0))?;
        let plain = device.clone().without_autodiff();
        let rates = vec![0.5; counts.num_classes()];
        let task = Self {
            seed: recipe.seed,
            precision: recipe.precision,
            loader,
            meta: Arc::new(meta),
            test: DetectionTestSet::new(run, data.val, counts)?,
            frozen: detector.valid(),
            meta_loss: config.meta_loss(counts, &plain)?,
            rates: ClassRates::new(&rates, config.rate_lr, device),
            optimizer: recipe.optimizer.clone(),
            learner: Learner::new(detector, &recipe.optimizer, recipe.gradient, recipe.ema, device),
            pending: None,
        };
        Ok((task, plan))
    }

    fn loss(&self) -> Result<&ClassificationLoss, TrainingError> {
        let losses = self.learner.model.classification_losses();
        losses.into_iter().next().ok_or_else(no_box_head)
    }

    /// What the last layer, which is trained in single precision, sees of a batch.
    fn rows(&self, batch: &DetectionBatch, key: u64) -> Result<RegionRows, TrainingError> {
        let mut images = batch.to_device(&self.learner.device().clone().without_autodiff());
        images.images = self.precision.cast(images.images);
        let key = StepKey { seed: self.seed, step: key, first_image: 0 };
        let rows = rcnn(&self.frozen)?.classifier_rows(&images, &batch.targets, key)?;
        Ok(RegionRows::new(rows, self.learner.model.num_classes()))
    }

    fn velocity(&self, layer: &Linear) -> Velocity {
        let bias = layer.bias.as_ref().and_then(|bias| self.learner.first_moment::<1>(bias.id));
        Velocity { weight: self.learner.first_moment::<2>(layer.weight.id), bias }
    }
}

fn no_box_head() -> TrainingError {
    refuse("stage_two.meta_reweighter", "needs a detector with one box head")
}

fn rcnn(detector: &Detector) -> Result<&RCnn, TrainingError> {
    match detector {
        Detector::RCnn(rcnn) if rcnn.roi_heads.stages.len() == 1 => Ok(rcnn),
        _ => Err(no_box_head()),
    }
}

/// The layer that is trained.
fn layer_of(detector: &Detector) -> Result<&Linear, TrainingError> {
    let stage = rcnn(detector)?.roi_heads.stages.first().ok_or_else(no_box_head)?;
    linear_layer(&stage.box_predictor.cls_score).ok_or_else(|| {
        refuse("stage_two.meta_reweighter", "needs a linear classifier in the box head")
    })
}

impl Task for ReweighterTask {
    type Batch = PairedBatch;
    type Batches = PairedBatches;
    type Report = DetectionResult;

    fn begin_epoch(&mut self, _epoch: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> PairedBatches {
        let main = self.loader.epoch(epoch, start);
        PairedBatches::new(main, self.meta.clone(), epoch, start)
    }

    fn shape(batch: &PairedBatch) -> (usize, [usize; 2]) {
        (batch.main.len(), batch.main.size)
    }

    fn accumulate(&mut self, batch: PairedBatch, key: u64) -> Result<(), TrainingError> {
        let num_images = batch.main.len();
        let rows = self.rows(&batch.main, key)?;
        let meta = self.rows(&batch.meta, key | 1 << 63)?; // regions of its own
        self.pending = Some(Pending { num_images, rows, meta });
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let Some(Pending { num_images, rows, meta }) = self.pending.take() else { return Ok(()) };
        let Some(sgd) = SgdStep::new(&self.optimizer, lr) else { return Ok(()) };
        let loss = self.loss()?;
        let layer = layer_of(&self.learner.model)?;
        let logits = PlainLayer::of(layer).forward(rows.vectors.clone());
        let labels = rows.row_labels(loss.num_labels())?;
        let of_rows = logit_gradient(loss, logits, labels, Reduction::None)?;
        let weighted = |weights: Tensor<1>| {
            let weighted = of_rows.by_logits.clone() * weights.unsqueeze_dim(1) / rows.count();
            LayerGradient::new(weighted, rows.vectors.clone(), layer)
        };

        let rates = self.rates.rates();
        let moved = weighted(rows.weights(&rates)).step(layer, sgd, self.velocity(layer));
        let meta_loss = self.meta_loss.as_ref().unwrap_or(loss);
        let labels = meta.row_labels(meta_loss.num_labels())?;
        let logits = moved.forward(meta.vectors.clone());
        let of_meta = logit_gradient(meta_loss, logits, labels, Reduction::Mean)?;
        let of_meta_layer = LayerGradient::new(of_meta.by_logits, meta.vectors, layer);
        let alignment = of_meta_layer.alignment(of_rows.by_logits.clone(), rows.vectors.clone());
        self.rates.update(rows.gradient(&rates, alignment, sgd.reach()));

        let weights = rows.weights(&self.rates.rates());
        let total = (of_rows.loss * weights.clone()).sum() / rows.count();
        let gradients = weighted(weights).named(layer);
        let losses = vec![("loss_classifier", total), ("loss_meta", of_meta.loss)];
        self.learner.window.add(losses, num_images);
        self.learner.update(lr, gradients);
        Ok(self.learner.model.apply(vec![of_rows.update])?)
    }

    fn check_replicas(&self, _step: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    /// The loss is that of the classifier alone; that of the meta batch stands beside it.
    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.learner.window.take()?;
        let mean = |(name, _): &(&'static str, f32)| (*name, window.mean(name));
        let parts: Vec<(&'static str, f32)> = window.sums.iter().map(mean).collect();
        let loss = window.mean("loss_classifier");
        let steps = window.counts.steps;
        Ok(Losses { loss, accuracy: None, parts: NamedNumbers(parts), steps })
    }

    fn evaluate(&self, is_final: bool) -> Result<DetectionResult, TrainingError> {
        self.test.evaluate(&self.learner.inference_model(), is_final)
    }

    fn summary(report: &DetectionResult) -> Summary {
        DetectionTask::summary(report)
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        state.window = self.learner.window.counts;
        let mut tensors = self.learner.collect()?;
        if let Some(sums) = Window::collect([&self.learner.window].into_iter())? {
            tensors.insert("window".into(), sums);
        }
        for (name, tensor) in self.learner.model.loss_state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        self.rates.collect(&mut tensors)?;
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.learner = self.learner.restore(&mut tensors, state.step, state.window)?;
        self.frozen = self.learner.model.valid();
        let loss_state = take_loss_state(&mut tensors, self.learner.device());
        self.learner.model.load_loss_state(loss_state).map_err(|error| error.to_string())?;
        self.rates = self.rates.restore(&mut tensors, state.step)?;
        match tensors.keys().next() {
            None => Ok(self),
            Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
        }
    }

    /// Writes the weights too, as `class_rates.json`: a number per class, in the order of labels.
    fn finish(&self, report: &DetectionResult, folder: &RunFolder) -> Result<(), TrainingError> {
        self.learner.inference_model().save_weights(folder.model())?;
        let text = serde_json::to_string(&self.rates.read()?).unwrap_or_default();
        write_whole(&folder.path().join("class_rates.json"), |file| {
            file.write_all(text.as_bytes())
        })?;
        report.write(folder.path())
    }
}
