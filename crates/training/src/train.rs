//! The training of a recipe, from first weights to report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use longtail_data::{Loader, LoaderConfig};
use longtail_eval::{ClassificationReport, MetricsLog};
use longtail_types::ClassCounts;

use crate::checkpoint::{self, BestScore, RunState};
use crate::clock::Clock;
use crate::dataset::Datasets;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::metrics::{EvalNumbers, EvalPoint, MetricsFile, TrainPoint};
use crate::progress::{Progress, ProgressMode};
use crate::recipe::Recipe;
use crate::run_folder::{RunFolder, Start};
use crate::schedule::Schedule;
use crate::threads::use_threads;
use crate::trainer::Trainer;

/// Where a run goes, and how it can be stopped.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run folder.
    pub out: PathBuf,
    /// Goes on from the folder's last checkpoint instead of refusing to use the folder.
    pub resume: bool,
    /// Set to true from elsewhere (Ctrl-C): the run saves a checkpoint and returns.
    pub stop: Arc<AtomicBool>,
    /// What is shown meanwhile.
    pub progress: ProgressMode,
}

impl TrainOptions {
    /// A new run in `out`, with progress shown.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        Self { out: out.into(), resume: false, stop, progress: ProgressMode::Auto }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a report on the test set.
    Finished(Box<ClassificationReport>),
    /// By [`TrainOptions::stop`]; it can be resumed.
    Interrupted {
        /// Optimizer steps done.
        step: u64,
    },
}

/// Trains a recipe and evaluates the result.
///
/// The run folder then holds `recipe.toml` (resolved), `metrics.jsonl`, the checkpoints
/// `last.safetensors` and `best.safetensors` (by test accuracy), the final weights
/// `model.safetensors`, and the report of the final weights with its plots. The data sets have no
/// validation part, so the best checkpoint is chosen on the test set: report the last one.
/// # Errors
/// If the recipe, the data or the folder is refused (nothing is left behind then), a file cannot be
/// written, or the loss is no longer finite.
pub fn train(
    recipe: &Recipe,
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome, TrainingError> {
    recipe.check()?;
    use_threads(recipe.run.threads)?;
    let datasets = recipe.dataset.load()?;
    let run = Run::new(recipe, device, datasets)?;
    let (folder, start) = RunFolder::open(&options.out, recipe, options.resume)?;
    let result = run.start(start, &folder).and_then(|run| run.train(&folder, options));
    if let Err(error) = &result
        && !matches!(error, TrainingError::LossNotFinite { .. })
    {
        folder.discard();
    }
    result
}

/// A run in progress.
struct Run<'a> {
    recipe: &'a Recipe,
    counts: ClassCounts,
    loader: Loader,
    test: TestSet,
    schedule: Schedule,
    num_steps: u64,
    num_epochs: u64,
    trainer: Trainer,
    state: RunState,
    final_report: Option<ClassificationReport>,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe, device: &Device, data: Datasets) -> Result<Self, TrainingError> {
        let counts = data.train.class_counts()?;
        let names = data.train.class_map().names().map(str::to_string).collect();
        let state = RunState::new(recipe.to_toml(), counts.image_counts().to_vec(), names);
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

        let steps_per_epoch = loader.num_batches().div_ceil(recipe.gradient.accumulate) as u64;
        let num_steps = match (recipe.iterations, recipe.epochs) {
            (Some(iterations), _) => iterations,
            (None, epochs) => epochs.unwrap_or(0) * steps_per_epoch,
        };
        let num_epochs = num_steps.div_ceil(steps_per_epoch.max(1));
        let schedule = recipe.schedule.init(recipe.optimizer.lr(), num_steps, steps_per_epoch)?;
        let trainer = Trainer::new(recipe, &counts, &device.clone().autodiff())?;
        Ok(Self {
            recipe,
            counts,
            loader,
            test,
            schedule,
            num_steps,
            num_epochs,
            trainer,
            state,
            final_report: None,
        })
    }

    /// Puts the run where the checkpoint left it.
    fn start(mut self, start: Start, folder: &RunFolder) -> Result<Self, TrainingError> {
        if let Start::Resumed(state, tensors) = start {
            let path = folder.last();
            if state.class_counts != self.state.class_counts {
                let (there, here) = (&state.class_counts, &self.state.class_counts);
                let differences =
                    format!("there, training images per class are {there:?}, not {here:?}");
                return Err(TrainingError::OtherRun { path, differences });
            }
            self.trainer = self
                .trainer
                .restore(tensors, state.step, state.window)
                .map_err(|problem| TrainingError::Checkpoint { path, problem })?;
            // The recipe may be carried out in another way than before.
            self.state = RunState { recipe: self.state.recipe, ..*state };
        }
        Ok(self)
    }

    fn train(
        mut self,
        folder: &RunFolder,
        options: &TrainOptions,
    ) -> Result<Outcome, TrainingError> {
        let mut metrics = MetricsFile::open(&folder.metrics(), self.state.metrics_bytes)?;
        let progress =
            Progress::new(options.progress, self.state.step, self.num_steps, self.num_epochs);
        let mut clock = Clock::new(self.state.step);
        while self.state.step < self.num_steps {
            self.trainer.begin_epoch(self.state.epoch, self.recipe, &self.counts)?;
            let epoch = self.loader.epoch(self.state.epoch, self.state.batch as usize);
            for batch in epoch {
                let batch = batch?;
                self.state.image_size = batch.size;
                clock.images += batch.len() as u64;
                self.trainer.accumulate(batch)?;
                self.state.batch += 1;
                if !self.is_step_complete() {
                    continue;
                }

                let lr = self.schedule.lr(self.state.step);
                self.trainer.step(lr)?;
                self.state.step += 1;
                let step = self.state.step;
                progress.step(step);
                if step.is_multiple_of(self.recipe.run.log_every) || step == self.num_steps {
                    let point = self.read_window(lr, &mut clock)?;
                    metrics.write(&point)?;
                    progress.train(&point, clock.left(step, self.num_steps));
                }
                if step == self.num_steps {
                    break;
                }
                let every = self.recipe.run.checkpoint_every;
                let is_stopped = options.stop.load(Ordering::Relaxed);
                if is_stopped || (every > 0 && step.is_multiple_of(every)) {
                    clock.pause();
                    self.save(folder, &metrics, false)?;
                    clock.go_on();
                }
                if is_stopped {
                    progress.finish();
                    return Ok(Outcome::Interrupted { step });
                }
            }

            clock.pause();
            self.state.epoch += 1;
            self.state.batch = 0;
            let is_best = self.evaluate_if_due(&mut metrics, &progress)?;
            self.save(folder, &metrics, is_best)?;
            clock.go_on();
        }
        progress.finish();
        self.finish(folder).map(|report| Outcome::Finished(Box::new(report)))
    }

    /// Whether the batches so far make a step: enough of them, or the last of the epoch.
    fn is_step_complete(&self) -> bool {
        let batches = self.state.batch as usize;
        batches.is_multiple_of(self.recipe.gradient.accumulate)
            || batches == self.loader.num_batches()
    }

    /// The point of the training curve since the last one; refuses a loss that is not finite.
    fn read_window(&mut self, lr: f64, clock: &mut Clock) -> Result<TrainPoint, TrainingError> {
        let step = self.state.step;
        let means = self.trainer.window.take();
        if !means.loss.is_finite() {
            let first_step = step + 1 - means.steps.clamp(1, step);
            return Err(TrainingError::LossNotFinite { first_step, step, loss: means.loss, lr });
        }
        let done = self.state.batch as f64 / self.loader.num_batches() as f64;
        Ok(TrainPoint {
            step,
            epoch: self.state.epoch as f64 + done,
            loss: means.loss,
            accuracy: means.accuracy,
            lr,
            images_per_second: clock.images_per_second(),
        })
    }

    /// Evaluates after an epoch if the recipe asks for it; whether it is the best so far.
    fn evaluate_if_due(
        &mut self,
        metrics: &mut MetricsFile,
        progress: &Progress,
    ) -> Result<bool, TrainingError> {
        let every = self.recipe.evaluation.every_epochs;
        let is_due = every > 0 && self.state.epoch.is_multiple_of(every);
        if !is_due && self.state.step < self.num_steps {
            return Ok(false);
        }
        let report = self.report()?;
        let numbers = EvalNumbers::new(&report);
        let epoch = self.state.epoch;
        metrics.write(&EvalPoint { step: self.state.step, epoch: epoch as f64, eval: numbers })?;
        progress.evaluation(epoch, &numbers);
        let accuracy = report.micro_accuracy as f32;
        let is_best = self.state.best.is_none_or(|best| accuracy > best.accuracy);
        if is_best {
            self.state.best = Some(BestScore { accuracy, epoch });
        }
        self.final_report = (self.state.step == self.num_steps).then_some(report);
        Ok(is_best)
    }

    fn report(&self) -> Result<ClassificationReport, TrainingError> {
        let model = self.trainer.inference_model();
        self.test.report(&model, &self.trainer.loss, self.recipe, &self.counts)
    }

    /// Writes the checkpoint; the one before stays until the new one is whole.
    fn save(
        &mut self,
        folder: &RunFolder,
        metrics: &MetricsFile,
        is_best: bool,
    ) -> Result<(), TrainingError> {
        self.state.metrics_bytes = metrics.length();
        self.state.window = self.trainer.window.counts;
        let tensors = self.trainer.collect();
        if is_best {
            checkpoint::save(&folder.best(), &self.state, &tensors)?;
        }
        checkpoint::save(&folder.last(), &self.state, &tensors)
    }

    /// Writes final weights and report.
    fn finish(mut self, folder: &RunFolder) -> Result<ClassificationReport, TrainingError> {
        let report = match self.final_report.take() {
            Some(report) => report,
            None => self.report()?, // resumed after its last step
        };
        self.trainer.inference_model().save_weights(folder.model())?;
        report.write(folder.path())?;
        let curves = folder.path().join("training_curves.svg");
        MetricsLog::read(&folder.metrics())?.write_curves(&curves, self.recipe.name())?;
        Ok(report)
    }
}
