//! Classification as a task of the training loop.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use longtail_data::{Batch, Epoch, Loader, LoaderConfig};
use longtail_eval::{ClassificationReport, GroupAccuracy};
use longtail_kernels::read_back;
use longtail_losses::{ClassificationLoss, RowLabels, StatisticsUpdate, effective_number_weights};
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use crate::checkpoint::RunState;
use crate::dataset::Datasets;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::learner::Learner;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe::Recipe;
use crate::run::{Every, Plan, Run};
use crate::run_folder::RunFolder;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A classifier in training.
pub(crate) struct ClassificationTask {
    recipe: Recipe,
    counts: ClassCounts,
    loader: Loader,
    test: TestSet,
    learner: Learner<Classifier>,
    loss: ClassificationLoss,
    update: StatisticsUpdate,
    is_reweighted: bool,
}

impl ClassificationTask {
    /// A run at its start.
    pub(crate) fn new(
        recipe: &Recipe,
        device: &Device,
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

        let device = device.clone().autodiff();
        let loss = recipe.loss.init(&counts, &device)?;
        let model =
            recipe.model.init(loss.num_logits(), loss.prior_bias(), recipe.seed, &device)?;
        let learner = Learner::new(model, &recipe.optimizer, recipe.gradient, recipe.ema, &device);
        let task = Self {
            recipe: recipe.clone(),
            counts,
            loader,
            test,
            learner,
            loss,
            update: StatisticsUpdate::None,
            is_reweighted: false,
        };
        Ok(Run::new(task, plan, state))
    }
}

fn plan(recipe: &Recipe, num_batches: usize) -> Result<Plan, TrainingError> {
    let steps_per_epoch = num_batches.div_ceil(recipe.gradient.accumulate) as u64;
    let num_steps = match (recipe.iterations, recipe.epochs) {
        (Some(iterations), _) => iterations,
        (None, epochs) => epochs.unwrap_or(0) * steps_per_epoch,
    };
    Ok(Plan {
        name: recipe.name().to_string(),
        schedule: recipe.schedule.init(recipe.optimizer.lr(), num_steps, steps_per_epoch)?,
        num_steps,
        num_epochs: num_steps.div_ceil(steps_per_epoch.max(1)),
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
            && !self.is_reweighted
        {
            let counts = self.counts.instance_counts();
            let weights = effective_number_weights(counts, reweighting.beta)?;
            self.loss = self.loss.clone().reweighted(&weights, self.learner.device())?;
            self.is_reweighted = true;
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
        let num_rows = batch.len();
        let device = self.learner.device();
        let labels = RowLabels::from_host(&batch.labels, self.loss.num_labels(), device)?;
        let batch = batch.to_device(device);
        let logits = self.learner.model.forward(batch.images);
        let output = self.loss.forward(logits.clone(), labels)?;
        let scores = self.loss.scores(logits.without_autodiff())?;
        let labels = batch.labels.without_autodiff();
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels).float().sum();
        self.learner.window.add(vec![("loss", output.loss.clone()), ("hits", hits)], num_rows);
        self.learner.backward(output.loss, num_rows);
        self.update = std::mem::take(&mut self.update).merge(output.update)?;
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        self.learner.step(lr);
        Ok(self.loss.apply(std::mem::take(&mut self.update))?)
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.learner.window.take()?;
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
        let model = self.learner.inference_model();
        self.test.report(&model, &self.loss, &self.recipe, &self.counts)
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
        state.window = self.learner.window.counts;
        let mut tensors = self.learner.collect()?;
        for (name, tensor) in self.loss.state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.learner = self.learner.restore(&mut tensors, state.step, state.window)?;
        restore_loss(&mut self.loss, &mut tensors, self.learner.device())?;
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
        self.learner.inference_model().save_weights(folder.model())?;
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
