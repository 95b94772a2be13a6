//! What all second stages have in common: data to evaluate on, model, loss, files.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use longtail_data::Batch;
use longtail_eval::ClassificationReport;
use longtail_kernels::read_back;
use longtail_losses::{ClassificationLoss, StatisticsUpdate};
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use super::features::{Rows, read_indices};
use super::start::Base;
use super::training::{BatchNormMode, StageTraining};
use crate::checkpoint::RunState;
use crate::classification::restore_loss;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::learner::Learner;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe::Recipe;
use crate::run::{Every, Plan};
use crate::run_folder::RunFolder;
use crate::settings::GradientConfig;
use crate::tensors::NamedTensors;
use crate::window::Window;

/// A classifier on a frozen backbone, in training.
pub(super) struct Core {
    whole: Recipe,
    counts: ClassCounts,
    test: TestSet,
    pub(super) learner: Learner<Classifier>,
    pub(super) loss: ClassificationLoss,
    pub(super) update: StatisticsUpdate,
    /// The backbone outside autodiff, where it is used in evaluation mode.
    frozen: Option<Classifier>,
    image_size: [usize; 2],
}

impl Core {
    pub(super) fn new(base: &Base, training: &StageTraining) -> Result<Self, TrainingError> {
        let device = &base.device;
        let config = base.recipe.final_loss().with_default_seed(base.recipe.seed);
        let loss = config.init(&base.counts, device)?;
        let mut model = base.initial_model(&loss)?;
        let frozen = match training.batch_norm {
            BatchNormMode::Eval => {
                model.backbone = model.backbone.freeze();
                Some(base.trained.model().for_inference())
            }
            BatchNormMode::Train => {
                model.backbone = model.backbone.no_grad();
                None
            }
        };
        let gradient = GradientConfig::default();
        let learner = Learner::new(model, &training.optimizer, gradient, None, device);
        Ok(Self {
            whole: base.recipe.clone(),
            counts: base.counts.clone(),
            test: TestSet::new(&base.recipe, base.test.clone())?,
            learner,
            loss,
            update: StatisticsUpdate::None,
            frozen,
            image_size: base.trained.image_size(),
        })
    }

    /// Height and width of the training images.
    pub(super) fn image_size(&self) -> [usize; 2] {
        self.image_size
    }

    /// The features of loaded images, without autodiff.
    pub(super) fn features(&self, batch: Batch) -> Tensor<2> {
        let device = self.learner.device();
        match &self.frozen {
            Some(frozen) => {
                frozen.features(batch.to_device(&device.clone().without_autodiff()).images)
            }
            None => {
                let images = batch.to_device(device).images;
                self.learner.model.features(images).without_autodiff()
            }
        }
    }

    /// The features of images that the device has drawn, without autodiff. Where images are live,
    /// their indices are read back to load them.
    pub(super) fn drawn(
        &self,
        rows: &Rows,
        images: Tensor<1, Int>,
        epoch: u64,
        step: u64,
    ) -> Result<Tensor<2>, TrainingError> {
        match rows {
            Rows::Cached(cached) => Ok(cached.select_on_device(epoch, images)),
            Rows::Live(live) => Ok(self.features(live.load(&read_indices(images)?, step)?)),
        }
    }

    /// The features of images that the host has chosen, without autodiff.
    pub(super) fn chosen(
        &self,
        rows: &Rows,
        images: &[usize],
        epoch: u64,
        step: u64,
    ) -> Result<Tensor<2>, TrainingError> {
        match rows {
            Rows::Cached(cached) => Ok(cached.select(epoch, images)),
            Rows::Live(live) => Ok(self.features(live.load(images, step)?)),
        }
    }

    /// Adds a batch to what is read back from time to time. Nothing has autodiff.
    pub(super) fn watch(
        &mut self,
        loss: Tensor<1>,
        logits: Tensor<2>,
        labels: Tensor<1, Int>,
    ) -> Result<(), TrainingError> {
        let [num_rows, _] = logits.dims();
        let scores = self.loss.scores(logits)?;
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels).float().sum();
        self.learner.window.add(vec![("loss", loss), ("hits", hits)], num_rows);
        Ok(())
    }

    /// The plan of a stage of `num_steps`.
    pub(super) fn plan(
        recipe: &Recipe,
        training: &StageTraining,
        steps_per_epoch: u64,
    ) -> Result<Plan, TrainingError> {
        let num_steps = training.num_steps(steps_per_epoch);
        let lr = training.optimizer.lr();
        Ok(Plan {
            name: recipe.name(),
            schedule: training.schedule.init(lr, num_steps, steps_per_epoch)?,
            num_steps,
            num_epochs: num_steps.div_ceil(steps_per_epoch.max(1)),
            accumulate: 1,
            evaluate: Every::Steps(0),
            run: recipe.run,
        })
    }

    pub(super) fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.learner.window.take()?;
        let counts = window.counts;
        let per_row = counts.batches as f32 / counts.images.max(1) as f32;
        Ok(Losses {
            loss: window.mean("loss"),
            accuracy: Some(window.mean("hits") * per_row),
            parts: NamedNumbers::default(),
            steps: counts.steps,
        })
    }

    pub(super) fn evaluate(&self) -> Result<ClassificationReport, TrainingError> {
        let model = self.learner.inference_model();
        self.test.report(&model, &self.loss, &self.whole, &self.counts)
    }

    pub(super) fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        state.window = self.learner.window.counts;
        let mut tensors = self.learner.collect()?;
        if let Some(sums) = Window::collect([&self.learner.window].into_iter())? {
            tensors.insert("window".into(), sums);
        }
        for (name, tensor) in self.loss.state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        Ok(tensors)
    }

    pub(super) fn restore(
        mut self,
        tensors: &mut NamedTensors,
        state: &RunState,
    ) -> Result<Self, String> {
        self.learner = self.learner.restore(tensors, state.step, state.window)?;
        restore_loss(&mut self.loss, tensors, self.learner.device())?;
        Ok(self)
    }

    pub(super) fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.learner.inference_model().save_weights(folder.model())?;
        Ok(report.write(folder.path())?)
    }
}

/// Refuses a checkpoint with more in it than the run has.
pub(super) fn all_used(tensors: &NamedTensors) -> Result<(), String> {
    match tensors.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
    }
}
