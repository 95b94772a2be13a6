//! Classification as a task of the training loop.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use longtail_data::{Batch, Epoch, Loader, LoaderConfig};
use longtail_eval::{ClassificationReport, GroupAccuracy};
use longtail_kernels::read_back;
use longtail_losses::{ClassificationLoss, RowLabels, StatisticsUpdate, effective_number_weights};
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use crate::calibration;
use crate::checkpoint::RunState;
use crate::dataset::Datasets;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::learner::Learner;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe::Recipe;
use crate::replica_group::ReplicaDevices;
use crate::replicas::{Replica, Replicas, shares, weighted};
use crate::run::{Every, Plan, Run};
use crate::run_folder::RunFolder;
use crate::settings::Precision;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A classifier in training.
pub(crate) struct ClassificationTask {
    recipe: Recipe,
    counts: ClassCounts,
    loader: Loader,
    test: TestSet,
    pub(crate) replicas: Replicas<ClassificationReplica>,
    /// Weight of each class in the mean, once there are weights.
    class_weights: Option<Vec<f64>>,
}

/// A classifier in training on one device.
pub(crate) struct ClassificationReplica {
    learner: Learner<Classifier>,
    pub(crate) loss: ClassificationLoss,
    precision: Precision,
    update: Option<StatisticsUpdate>,
}

impl ClassificationReplica {
    /// Forward and backward of its part of a batch of `num_images`: `share` of the weight in the
    /// mean over the batch. Gives the number of random draws of the loss.
    fn accumulate(
        &mut self,
        part: Batch,
        share: f64,
        num_images: usize,
    ) -> Result<u64, TrainingError> {
        if part.is_empty() {
            self.learner.skip(num_images);
            return Ok(0);
        }
        let device = self.learner.device();
        let labels = RowLabels::from_host(&part.labels, self.loss.num_labels(), device)?;
        let classes = part.labels.clone();
        let part = part.to_device(device);
        let images = self.precision.cast(part.images);
        let labeled = self.learner.model.forward_labeled(images, &classes);
        let (logits, auxiliary) = (labeled.logits, labeled.auxiliary);
        let output = self.loss.forward(logits.clone(), labels)?;
        let total = match auxiliary {
            Some(auxiliary) => output.loss + auxiliary,
            None => output.loss,
        };
        let scores = self.loss.scores(logits.without_autodiff())?;
        let labels = part.labels.without_autodiff();
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels).float().sum();
        let loss = weighted(total, share);
        self.learner.window.add(vec![("loss", loss.clone()), ("hits", hits)], num_images);
        self.learner.backward(loss, num_images);
        let (draws, update) = output.update.of_part(share).split_draws();
        self.update = Some(self.update.take().unwrap_or_default().merge(update)?);
        Ok(draws)
    }
}

impl Replica for ClassificationReplica {
    type Model = Classifier;

    fn learner(&self) -> &Learner<Classifier> {
        &self.learner
    }

    fn learner_mut(&mut self) -> &mut Learner<Classifier> {
        &mut self.learner
    }

    fn take_updates(&mut self) -> Vec<StatisticsUpdate> {
        self.update.take().into_iter().collect()
    }

    fn apply(&mut self, updates: Vec<StatisticsUpdate>) -> Result<(), TrainingError> {
        updates.into_iter().try_for_each(|update| Ok(self.loss.apply(update)?))
    }
}

impl ClassificationTask {
    /// A run at its start.
    pub(crate) fn new(
        recipe: &Recipe,
        devices: &ReplicaDevices,
        data: Datasets,
    ) -> Result<Run<Self>, TrainingError> {
        let counts = data.train.class_counts()?;
        let classes = data.train.class_map().clone();
        let state = RunState::new(recipe.to_toml(), counts.clone(), classes);
        let config = LoaderConfig {
            batch_size: recipe.batch_size,
            workers: recipe.run.workers,
            seed: recipe.seed,
            drop_last: recipe.drop_last,
            ..Default::default()
        };
        let pipeline = recipe.transforms.train_pipeline()?;
        let loader = Loader::new(Arc::new(data.train), pipeline, recipe.sampler, config)?;
        let test = TestSet::new(recipe, data.test)?;
        let plan = plan(recipe, loader.num_batches())?;

        let [main, others @ ..] = devices.devices.as_slice() else {
            return Err(TrainingError::Replicas { problem: "there is none".into() });
        };
        recipe.precision.check(main)?;
        let config = recipe.loss.clone().with_default_seed(recipe.seed);
        let loss = config.init(&counts, main)?;
        if let Some(reweighting) = &recipe.reweighting {
            // A loss without a place for weights is refused before training too.
            let weights = effective_number_weights(counts.instance_counts(), reweighting.beta)?;
            loss.clone().reweighted(&weights, main)?;
        }
        if recipe.stage_two.is_none() {
            // A calibration that does not fit is refused before training.
            calibration::fitted(recipe.calibration.as_ref(), &counts, &loss, main)?;
        }
        let model = recipe.model.init(loss.num_logits(), loss.prior_bias(), recipe.seed, main)?;
        let learner = Learner::new(model, &recipe.optimizer, recipe.gradient, recipe.ema, main);
        let precision = recipe.precision;
        let main = ClassificationReplica { learner, loss, precision, update: None };
        let other = |device: &Device| -> Result<ClassificationReplica, TrainingError> {
            let loss = config.init(&counts, device)?;
            let learner = main.learner.replica(device);
            Ok(ClassificationReplica { learner, loss, precision, update: None })
        };
        let others = others.iter().map(other).collect::<Result<_, _>>()?;
        let replicas = Replicas::new(main, others, devices.group.clone());
        let recipe = recipe.clone();
        let task = Self { recipe, counts, loader, test, replicas, class_weights: None };
        Ok(Run::new(task, plan, state))
    }
}

/// The plan of a recipe whose epochs have so many batches.
pub(crate) fn plan(recipe: &Recipe, num_batches: usize) -> Result<Plan, TrainingError> {
    let steps_per_epoch = num_batches.div_ceil(recipe.gradient.accumulate) as u64;
    let num_steps = match (recipe.iterations, recipe.epochs) {
        (Some(iterations), _) => iterations,
        (None, epochs) => epochs.unwrap_or(0) * steps_per_epoch,
    };
    let num_epochs = num_steps.div_ceil(steps_per_epoch.max(1));
    if let Some(reweighting) = recipe.reweighting {
        reweighting.check_length("reweighting", num_epochs)?;
    }
    Ok(Plan {
        name: recipe.name(),
        schedule: recipe.schedule.init(recipe.optimizer.lr(), num_steps, steps_per_epoch)?,
        num_steps,
        num_epochs,
        accumulate: recipe.gradient.accumulate,
        evaluate: Every::Epochs(recipe.evaluation.every_epochs),
        run: recipe.run,
    })
}

impl Task for ClassificationTask {
    type Batch = Batch;
    type Batches = Epoch;
    type Report = ClassificationReport;

    /// Switches deferred re-weighting on once its epoch has come.
    fn begin_epoch(&mut self, epoch: u64) -> Result<(), TrainingError> {
        if let Some(reweighting) = &self.recipe.reweighting
            && epoch >= reweighting.from_epoch
            && self.class_weights.is_none()
        {
            let counts = self.counts.instance_counts();
            let weights = effective_number_weights(counts, reweighting.beta)?;
            for replica in self.replicas.all_mut() {
                let loss = replica.loss.clone();
                replica.loss = loss.reweighted(&weights, replica.learner.device())?;
            }
            self.class_weights = Some(weights);
        }
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> Epoch {
        self.loader.epoch(epoch, start)
    }

    fn shape(batch: &Batch) -> (usize, [usize; 2]) {
        (batch.len(), batch.size)
    }

    fn accumulate(&mut self, batch: Batch, _key: u64) -> Result<(), TrainingError> {
        let num_images = batch.len();
        let parts = batch.split(self.replicas.len());
        let count = |part: &Batch| match &self.class_weights {
            Some(weights) => part.labels.iter().map(|&label| weights[label]).sum(),
            None => part.len() as f64,
        };
        let shares = shares(&parts.iter().map(count).collect::<Vec<f64>>());
        let inputs = parts.into_iter().zip(shares).collect();
        let done = self.replicas.each(inputs, move |replica, (part, share)| {
            replica.accumulate(part, share, num_images)
        });
        let draws = done.into_iter().collect::<Result<Vec<u64>, _>>()?;
        // Also without an image, so that all replicas have drawn as often.
        match draws.into_iter().max() {
            None | Some(0) => Ok(()),
            Some(draws) => self
                .replicas
                .all_mut()
                .try_for_each(|replica| Ok(replica.loss.apply(StatisticsUpdate::Draws(draws))?)),
        }
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        self.replicas.step(lr)
    }

    fn check_replicas(&self, step: u64) -> Result<(), TrainingError> {
        self.replicas.check(step)
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.replicas.take_window()?;
        let counts = window.counts;
        let per_image = counts.batches as f32 / counts.images.max(1) as f32;
        Ok(Losses {
            loss: window.mean("loss"),
            accuracy: Some(window.mean("hits") * per_image),
            parts: NamedNumbers::default(),
            steps: counts.steps,
        })
    }

    fn evaluate(&self, _is_final: bool) -> Result<ClassificationReport, TrainingError> {
        let ClassificationReplica { learner, loss, .. } = &self.replicas.main;
        self.test.report(&learner.inference_model(), loss, &self.recipe, &self.counts)
    }

    fn summary(report: &ClassificationReport) -> Summary {
        let accuracy = |group: Option<GroupAccuracy>| group.map(|group| group.accuracy);
        let numbers = [
            ("accuracy", Some(report.micro_accuracy)),
            ("macro_accuracy", Some(report.macro_accuracy)),
            ("many", accuracy(report.shots.many)),
            ("medium", accuracy(report.shots.medium)),
            ("few", accuracy(report.shots.few)),
        ];
        let groups = numbers[2..].iter();
        let groups =
            groups.filter_map(|(name, value)| Some(format!(", {name} {:.2}", 100.0 * (*value)?)));
        let line = format!(
            "test accuracy {:.2} %, mean over classes {:.2}{}",
            100.0 * report.micro_accuracy,
            100.0 * report.macro_accuracy,
            groups.collect::<String>(),
        );
        let measured = numbers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let numbers = NamedNumbers(measured.collect());
        Summary { numbers, line, score: report.micro_accuracy }
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        let ClassificationReplica { learner, loss, .. } = &self.replicas.main;
        state.window = learner.window.counts;
        let mut tensors = self.replicas.collect()?;
        for (name, tensor) in loss.state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.replicas = self.replicas.restore(&mut tensors, |mut replica, tensors| {
            replica.learner = replica.learner.restore(tensors, state.step, state.window)?;
            restore_loss(&mut replica.loss, tensors, replica.learner.device())?;
            Ok(replica)
        })?;
        match tensors.keys().next() {
            None => Ok(self),
            Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
        }
    }

    fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.replicas.main.learner.inference_model().save_weights(folder.model())?;
        Ok(report.write(folder.path())?)
    }
}

/// Gives the loss its statistics back: the tensors `loss.*`.
pub(crate) fn restore_loss(
    loss: &mut ClassificationLoss,
    tensors: &mut NamedTensors,
    device: &Device,
) -> Result<(), String> {
    let state = take_loss_state(tensors, device);
    loss.load_state(state).map_err(|error| error.to_string())
}

/// Takes the tensors `loss.*` out of a checkpoint.
pub(crate) fn take_loss_state(
    tensors: &mut NamedTensors,
    device: &Device,
) -> Vec<(String, Tensor<1>)> {
    let device = device.clone().without_autodiff();
    let names: Vec<String> =
        tensors.keys().filter(|name| name.starts_with("loss.")).cloned().collect();
    let take = |name: String| -> Option<(String, Tensor<1>)> {
        let data: TensorData = tensors.remove(&name)?;
        let is_vector = data.rank() == 1;
        let name = name.trim_start_matches("loss.").to_string();
        is_vector.then(|| (name, Tensor::from_data(data, &device)))
    };
    names.into_iter().filter_map(take).collect()
}
