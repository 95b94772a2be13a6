//! A detector as a task of the training loop.

use std::sync::Arc;

use burn::tensor::Device;
use longtail_data::{DetectionBatch, DetectionEpoch, DetectionLoader, DetectionLoaderConfig};
use longtail_kernels::read_back;
use longtail_losses::StatisticsUpdate;
use longtail_models::{Detector, StepKey};
use longtail_types::ClassCounts;

use super::dataset::DetectionDatasets;
use super::recipe::DetectionRecipe;
use super::result::DetectionResult;
use super::test_set::DetectionTestSet;
use crate::checkpoint::RunState;
use crate::classification::take_loss_state;
use crate::error::TrainingError;
use crate::learner::Learner;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe_file::refuse;
use crate::run::{Every, Plan};
use crate::run_folder::RunFolder;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A detector in training.
pub(crate) struct DetectionTask {
    seed: u64,
    loader: DetectionLoader,
    test: DetectionTestSet,
    learner: Learner<Detector>,
    updates: Vec<StatisticsUpdate>,
}

impl DetectionTask {
    /// One stage at its start. `detector` lives on an autodiff device.
    pub(crate) fn new(
        recipe: &DetectionRecipe,
        detector: Detector,
        data: DetectionDatasets,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<(Self, Plan), TrainingError> {
        let config = DetectionLoaderConfig {
            batch_size: recipe.batch_size,
            workers: recipe.run.workers,
            seed: recipe.seed,
            drop_last: true,
            ..recipe.batches.loader_config()
        };
        let pipeline = recipe.transforms.train_pipeline()?;
        let loader = DetectionLoader::new(Arc::new(data.train), pipeline, recipe.sampler, config)?;
        let test = DetectionTestSet::new(recipe, data.val, counts)?;
        let plan = plan(recipe, loader.num_batches(0))?;
        let learner =
            Learner::new(detector, &recipe.optimizer, recipe.gradient, recipe.ema, device);
        let task = Self { seed: recipe.seed, loader, test, learner, updates: Vec::new() };
        Ok((task, plan))
    }
}

fn plan(recipe: &DetectionRecipe, num_batches: usize) -> Result<Plan, TrainingError> {
    if num_batches == 0 {
        let problem =
            format!("{0}: the training set has no {0} images of one shape", recipe.batch_size);
        return Err(refuse("batch_size", problem));
    }
    let steps_per_epoch = num_batches.div_ceil(recipe.gradient.accumulate) as u64;
    Ok(Plan {
        name: recipe.name().to_string(),
        schedule: recipe.schedule.init(recipe.base_lr(), recipe.iterations, steps_per_epoch)?,
        num_steps: recipe.iterations,
        num_epochs: recipe.iterations.div_ceil(steps_per_epoch),
        accumulate: recipe.gradient.accumulate,
        evaluate: Every::Steps(recipe.evaluation.every_iterations),
        run: recipe.run,
    })
}

impl Task for DetectionTask {
    type Batch = DetectionBatch;
    type Batches = DetectionEpoch;
    type Report = DetectionResult;

    fn begin_epoch(&mut self, _epoch: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> DetectionEpoch {
        self.loader.epoch(epoch, start)
    }

    fn shape(batch: &DetectionBatch) -> (usize, [usize; 2]) {
        (batch.len(), batch.size)
    }

    fn accumulate(&mut self, batch: DetectionBatch, key: u64) -> Result<(), TrainingError> {
        let num_images = batch.len();
        let images = batch.to_device(self.learner.device());
        let key = StepKey { seed: self.seed, step: key };
        let losses = self.learner.model.losses(&images, &batch.targets, key)?;
        let total = losses.total();
        self.learner.window.add(losses.losses, num_images);
        self.learner.backward(total, num_images);
        self.updates = match std::mem::take(&mut self.updates) {
            first if first.is_empty() => losses.updates,
            before => {
                let pairs = before.into_iter().zip(losses.updates);
                pairs.map(|(a, b)| a.merge(b)).collect::<Result<_, _>>()?
            }
        };
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        self.learner.step(lr);
        Ok(self.learner.model.apply(std::mem::take(&mut self.updates))?)
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.learner.window.take()?;
        let mean = |(name, _): &(&'static str, f32)| (*name, window.mean(name));
        let parts: Vec<(&'static str, f32)> = window.sums.iter().map(mean).collect();
        Ok(Losses {
            loss: parts.iter().map(|(_, value)| value).sum(),
            accuracy: None,
            parts: NamedNumbers(parts),
            steps: window.counts.steps,
        })
    }

    fn evaluate(&self, is_final: bool) -> Result<DetectionResult, TrainingError> {
        self.test.evaluate(&self.learner.inference_model(), is_final)
    }

    fn summary(report: &DetectionResult) -> Summary {
        let score = report.main().metrics.ap.unwrap_or_default();
        Summary { numbers: report.numbers(), line: report.line(), score }
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        state.window = self.learner.window.counts;
        let mut tensors = self.learner.collect()?;
        for (name, tensor) in self.learner.model.loss_state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.learner = self.learner.restore(&mut tensors, state.step, state.window)?;
        let loss_state = take_loss_state(&mut tensors, self.learner.device());
        self.learner.model.load_loss_state(loss_state).map_err(|error| error.to_string())?;
        match tensors.keys().next() {
            None => Ok(self),
            Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
        }
    }

    fn finish(&self, report: &DetectionResult, folder: &RunFolder) -> Result<(), TrainingError> {
        self.learner.inference_model().save_weights(folder.model())?;
        report.write(folder.path())
    }
}
