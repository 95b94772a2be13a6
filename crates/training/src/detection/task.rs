//! A detector as a task of the training loop.

use std::sync::Arc;

use longtail_data::{DetectionBatch, DetectionEpoch, DetectionLoader, DetectionLoaderConfig};
use longtail_kernels::read_back;
use longtail_losses::StatisticsUpdate;
use longtail_models::{Detector, DetectorLosses, StepKey};
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
use crate::replica_group::ReplicaDevices;
use crate::replicas::{Replica, Replicas, shares, weighted};
use crate::run::{Every, Plan};
use crate::run_folder::RunFolder;
use crate::settings::Precision;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A detector in training.
pub(crate) struct DetectionTask {
    seed: u64,
    loader: DetectionLoader,
    test: DetectionTestSet,
    replicas: Replicas<DetectionReplica>,
}

/// A detector in training on one device.
struct DetectionReplica {
    learner: Learner<Detector>,
    precision: Precision,
    updates: Vec<StatisticsUpdate>,
}

impl DetectionReplica {
    /// The losses of a part of a batch; none without an image.
    fn forward(
        &self,
        part: &DetectionBatch,
        key: StepKey,
    ) -> Result<Option<DetectorLosses>, TrainingError> {
        if part.is_empty() {
            return Ok(None);
        }
        let mut images = part.to_device(self.learner.device());
        images.images = self.precision.cast(images.images);
        Ok(Some(self.learner.model.losses(&images, &part.targets, key)?))
    }

    /// Backward of the losses of a part, each with its share in that of the whole batch.
    fn backward(
        &mut self,
        losses: Option<DetectorLosses>,
        shares: &[f64],
        num_images: usize,
    ) -> Result<(), TrainingError> {
        let Some(mut losses) = losses else {
            self.learner.skip(num_images);
            return Ok(());
        };
        for ((_, loss), share) in losses.losses.iter_mut().zip(shares) {
            *loss = weighted(loss.clone(), *share);
        }
        for (update, &loss) in losses.updates.iter_mut().zip(&losses.updated_losses) {
            *update = std::mem::take(update).of_part(shares.get(loss).copied().unwrap_or(1.0));
        }
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
}

impl Replica for DetectionReplica {
    type Model = Detector;

    fn learner(&self) -> &Learner<Detector> {
        &self.learner
    }

    fn learner_mut(&mut self) -> &mut Learner<Detector> {
        &mut self.learner
    }

    fn take_updates(&mut self) -> Vec<StatisticsUpdate> {
        std::mem::take(&mut self.updates)
    }

    fn apply(&mut self, updates: Vec<StatisticsUpdate>) -> Result<(), TrainingError> {
        Ok(self.learner.model.apply(updates)?)
    }
}

/// Takes the random draws out of the updates of all parts: an update per classification loss. A
/// replica without an image counts them too, so that all have drawn as often.
fn take_draws(losses: &mut [Option<DetectorLosses>]) -> Vec<StatisticsUpdate> {
    let mut most = Vec::new();
    for part in losses.iter_mut().flatten() {
        most.resize(part.updates.len().max(most.len()), 0);
        for (most, update) in most.iter_mut().zip(&mut part.updates) {
            let (draws, statistics) = std::mem::take(update).split_draws();
            *most = draws.max(*most);
            *update = statistics;
        }
    }
    let update = |draws| match draws {
        0 => StatisticsUpdate::None,
        draws => StatisticsUpdate::Draws(draws),
    };
    most.into_iter().map(update).collect()
}

/// The shares of all parts in each loss: rows of replicas, columns of losses.
fn shares_of(losses: &[Option<DetectorLosses>]) -> Vec<Vec<f64>> {
    let num_losses = losses.iter().flatten().map(|part| part.losses.len()).max().unwrap_or(0);
    let count = |part: &Option<DetectorLosses>, loss: usize| match part {
        Some(part) => part.counts.get(loss).map_or(1.0, |&count| count as f64),
        None => 0.0,
    };
    let of_loss = |loss| shares(&losses.iter().map(|part| count(part, loss)).collect::<Vec<_>>());
    let columns: Vec<Vec<f64>> = (0..num_losses).map(of_loss).collect();
    let row = |replica: usize| columns.iter().map(|column| column[replica]).collect();
    (0..losses.len()).map(row).collect()
}

impl DetectionTask {
    /// A stage at its start: its recipe is the second, the first that of the run, which reports are
    /// about. `detector` lives on the first of the devices.
    pub(crate) fn new(
        (run, recipe): (&DetectionRecipe, &DetectionRecipe),
        detector: Detector,
        data: DetectionDatasets,
        counts: &ClassCounts,
        devices: &ReplicaDevices,
    ) -> Result<(Self, Plan), TrainingError> {
        let config = loader_config(recipe);
        let pipeline = recipe.transforms.train_pipeline()?;
        let loader = DetectionLoader::new(Arc::new(data.train), pipeline, recipe.sampler, config)?;
        let test = DetectionTestSet::new(run, data.val, counts)?;
        let plan = plan(recipe, loader.num_batches(0))?;
        let [main, others @ ..] = devices.devices.as_slice() else {
            return Err(TrainingError::Replicas { problem: "there is none".into() });
        };
        let learner = Learner::new(detector, &recipe.optimizer, recipe.gradient, recipe.ema, main);
        let precision = recipe.precision;
        precision.check(main)?;
        let replica = |learner| DetectionReplica { learner, precision, updates: Vec::new() };
        let others = others.iter().map(|device| replica(learner.replica(device))).collect();
        let replicas = Replicas::new(replica(learner), others, devices.group.clone());
        let task = Self { seed: recipe.seed, loader, test, replicas };
        Ok((task, plan))
    }
}

/// How training batches are loaded.
pub(super) fn loader_config(recipe: &DetectionRecipe) -> DetectionLoaderConfig {
    DetectionLoaderConfig {
        batch_size: recipe.batch_size,
        workers: recipe.run.workers,
        seed: recipe.seed,
        drop_last: true,
        ..recipe.batches.loader_config()
    }
}

pub(super) fn plan(recipe: &DetectionRecipe, num_batches: usize) -> Result<Plan, TrainingError> {
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
        let parts = batch.split(self.replicas.len());
        let mut first_image = 0;
        let inputs = parts.into_iter().map(|part| {
            let key = StepKey { seed: self.seed, step: key, first_image };
            first_image += part.len() as u64;
            (part, key)
        });
        let inputs = inputs.collect();
        let losses = self.replicas.each(inputs, |replica, (part, key)| replica.forward(&part, key));
        let mut losses = losses.into_iter().collect::<Result<Vec<_>, _>>()?;
        let draws = take_draws(&mut losses);
        let shares = shares_of(&losses);
        let inputs = losses.into_iter().zip(shares).collect();
        let done = self.replicas.each(inputs, move |replica, (losses, shares)| {
            replica.backward(losses, &shares, num_images)
        });
        done.into_iter().collect::<Result<(), _>>()?;
        if draws.iter().all(StatisticsUpdate::is_none) {
            return Ok(());
        }
        self.replicas.all_mut().try_for_each(|replica| replica.apply(draws.clone()))
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        self.replicas.step(lr)
    }

    fn check_replicas(&self, step: u64) -> Result<(), TrainingError> {
        self.replicas.check(step)
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.replicas.take_window()?;
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
        self.test.evaluate(&self.replicas.main.learner.inference_model(), is_final)
    }

    fn summary(report: &DetectionResult) -> Summary {
        let score = report.main().metrics.ap.unwrap_or_default();
        Summary { numbers: report.numbers(), line: report.line(), score }
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        let learner = &self.replicas.main.learner;
        state.window = learner.window.counts;
        let mut tensors = self.replicas.collect()?;
        for (name, tensor) in learner.model.loss_state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.replicas = self.replicas.restore(&mut tensors, |mut replica, tensors| {
            replica.learner = replica.learner.restore(tensors, state.step, state.window)?;
            let loss_state = take_loss_state(tensors, replica.learner.device());
            let loaded = replica.learner.model.load_loss_state(loss_state);
            loaded.map(|()| replica).map_err(|error| error.to_string())
        })?;
        match tensors.keys().next() {
            None => Ok(self),
            Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
        }
    }

    fn finish(&self, report: &DetectionResult, folder: &RunFolder) -> Result<(), TrainingError> {
        self.replicas.main.learner.inference_model().save_weights(folder.model())?;
        report.write(folder.path())
    }
}
