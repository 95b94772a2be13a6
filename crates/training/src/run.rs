//! The loop of all runs: steps, evaluations, checkpoints.

use std::sync::atomic::Ordering;

use crate::checkpoint::{self, BestScore, RunState};
use crate::clock::Clock;
use crate::error::TrainingError;
use crate::metrics::{EvalPoint, MetricsFile, TrainPoint};
use crate::progress::Progress;
use crate::run_folder::{RunFolder, Start};
use crate::schedule::Schedule;
use crate::settings::RunConfig;
use crate::task::Task;
use crate::tensorboard::EventFile;
use crate::train::{Outcome, TrainOptions};

/// How long a run is, and what happens when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) schedule: Schedule,
    pub(crate) num_steps: u64,
    pub(crate) num_epochs: u64,
    /// Batches per step.
    pub(crate) accumulate: usize,
    pub(crate) evaluate: Every,
    pub(crate) run: RunConfig,
}

/// When a run is evaluated, apart from its end; 0: at the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Every {
    /// After so many epochs. A checkpoint is saved after each.
    Epochs(u64),
    /// After so many steps. Epochs mean nothing then.
    Steps(u64),
}

/// A run in progress.
pub(crate) struct Run<T: Task> {
    pub(crate) task: T,
    plan: Plan,
    pub(crate) state: RunState,
    final_report: Option<T::Report>,
}

impl<T: Task> Run<T> {
    pub(crate) fn new(task: T, plan: Plan, state: RunState) -> Self {
        Self { task, plan, state, final_report: None }
    }

    /// Puts the run where the checkpoint left it.
    pub(crate) fn start(mut self, start: Start, folder: &RunFolder) -> Result<Self, TrainingError> {
        if let Start::Resumed(state, tensors) = start {
            let path = folder.last();
            if let Some(differences) = state.data_difference(&self.state) {
                return Err(TrainingError::OtherRun { path, differences });
            }
            self.task = self
                .task
                .restore(tensors, &state)
                .map_err(|problem| TrainingError::Checkpoint { path, problem })?;
            // The recipe may be carried out in another way than before.
            self.state = RunState { recipe: self.state.recipe, ..*state };
        }
        Ok(self)
    }

    /// Trains to the end, or until it is stopped.
    pub(crate) fn train(
        mut self,
        folder: &RunFolder,
        options: &TrainOptions,
    ) -> Result<Outcome<T::Report>, TrainingError> {
        let num_steps = self.plan.num_steps;
        let mut metrics = MetricsFile::open(&folder.metrics(), self.state.metrics_bytes)?;
        if self.plan.run.tensorboard {
            metrics = metrics.with_events(EventFile::create(folder.path(), self.state.step)?);
        }
        let progress =
            Progress::new(options.progress, self.state.step, num_steps, self.plan.num_epochs);
        let mut clock = Clock::new(self.state.step);
        if num_steps == 0 && self.state.best.is_none() {
            // Nothing is trained; what was computed is evaluated and saved.
            let is_best = self.evaluate(&mut metrics, &progress)?;
            self.save(folder, &metrics, is_best)?;
        }
        while self.state.step < num_steps {
            self.task.begin_epoch(self.state.epoch)?;
            let batches = self.task.batches(self.state.epoch, self.state.batch as usize);
            let num_batches = self.state.batch + batches.len() as u64;
            for batch in batches {
                let batch = batch?;
                let (num_images, size) = T::shape(&batch);
                self.state.image_size = size;
                clock.images += num_images as u64;
                self.task.accumulate(batch, self.batch_key())?;
                self.state.batch += 1;
                if !self.is_step_complete(num_batches) {
                    continue;
                }

                let lr = self.plan.schedule.lr(self.state.step);
                self.task.step(lr)?;
                self.state.step += 1;
                let step = self.state.step;
                progress.step(step);
                let check_every = self.plan.run.replica_check_every;
                if check_every > 0 && step.is_multiple_of(check_every) {
                    self.task.check_replicas(step)?;
                }
                if step.is_multiple_of(self.plan.run.log_every) || step == num_steps {
                    let point = self.read_window(lr, num_batches, &mut clock)?;
                    metrics.write(&point)?;
                    progress.train(&point, clock.left(step, num_steps));
                }
                if step == num_steps {
                    break;
                }
                clock.pause();
                let is_stopped = options.stop.load(Ordering::Relaxed);
                let is_best = match self.is_evaluated_at_step() {
                    true => Some(self.evaluate(&mut metrics, &progress)?),
                    false => None,
                };
                let every = self.plan.run.checkpoint_every;
                let is_due = every > 0 && step.is_multiple_of(every);
                if is_stopped || is_due || is_best.is_some() {
                    self.save(folder, &metrics, is_best == Some(true))?;
                }
                clock.go_on();
                if is_stopped {
                    progress.finish();
                    return Ok(Outcome::Interrupted { step });
                }
            }

            clock.pause();
            self.state.epoch += 1;
            self.state.batch = 0;
            self.end_epoch(folder, &mut metrics, &progress)?;
            clock.go_on();
        }
        progress.finish();
        let report = match self.final_report.take() {
            Some(report) => report,
            None => self.task.evaluate(true)?, // resumed after its last step
        };
        self.task.finish(&report, folder)?;
        folder.write_curves(&self.plan.name)?;
        Ok(Outcome::Finished(Box::new(report)))
    }

    /// A number that no other batch of the run has.
    fn batch_key(&self) -> u64 {
        self.state.epoch << 32 | self.state.batch
    }

    /// Whether the batches so far make a step: enough of them, or the last of the epoch.
    fn is_step_complete(&self, num_batches: u64) -> bool {
        let batches = self.state.batch;
        batches.is_multiple_of(self.plan.accumulate as u64) || batches == num_batches
    }

    fn is_evaluated_at_step(&self) -> bool {
        match self.plan.evaluate {
            Every::Steps(every) => every > 0 && self.state.step.is_multiple_of(every),
            Every::Epochs(_) => false,
        }
    }

    /// The point of the training curve since the last one; refuses a loss that is not finite.
    fn read_window(
        &mut self,
        lr: f64,
        num_batches: u64,
        clock: &mut Clock,
    ) -> Result<TrainPoint, TrainingError> {
        let step = self.state.step;
        let losses = self.task.read_losses()?;
        if !losses.loss.is_finite() {
            let first_step = step + 1 - losses.steps.clamp(1, step);
            let loss = losses.describe();
            return Err(TrainingError::LossNotFinite { first_step, step, loss, lr });
        }
        let done = self.state.batch as f64 / num_batches.max(1) as f64;
        Ok(TrainPoint {
            step,
            epoch: self.state.epoch as f64 + done,
            loss: losses.loss,
            accuracy: losses.accuracy,
            losses: losses.parts,
            lr,
            images_per_second: clock.images_per_second(),
        })
    }

    /// What follows the last batch of an epoch, or of the run.
    fn end_epoch(
        &mut self,
        folder: &RunFolder,
        metrics: &mut MetricsFile,
        progress: &Progress,
    ) -> Result<(), TrainingError> {
        let is_last = self.state.step == self.plan.num_steps;
        let is_due = match self.plan.evaluate {
            Every::Epochs(every) => every > 0 && self.state.epoch.is_multiple_of(every),
            Every::Steps(_) if !is_last => return Ok(()),
            Every::Steps(_) => true,
        };
        let is_best = (is_due || is_last) && self.evaluate(metrics, progress)?;
        self.save(folder, metrics, is_best)
    }

    /// Evaluates; whether it is the best so far.
    fn evaluate(
        &mut self,
        metrics: &mut MetricsFile,
        progress: &Progress,
    ) -> Result<bool, TrainingError> {
        let RunState { step, epoch, .. } = self.state;
        progress.message("evaluating");
        let report = self.task.evaluate(step == self.plan.num_steps)?;
        let summary = T::summary(&report);
        metrics.write(&EvalPoint { step, epoch: epoch as f64, eval: summary.numbers })?;
        let place = match self.plan.evaluate {
            Every::Epochs(_) => format!("epoch {epoch}"),
            Every::Steps(_) => format!("step {step}"),
        };
        progress.line(&format!("{place}: {}", summary.line));
        let score = summary.score;
        let is_best = self.state.best.is_none_or(|best| score > best.score);
        if is_best {
            self.state.best = Some(BestScore { score, step });
        }
        self.final_report = (step == self.plan.num_steps).then_some(report);
        Ok(is_best)
    }

    /// Writes the checkpoint; the one before stays until the new one is whole.
    fn save(
        &mut self,
        folder: &RunFolder,
        metrics: &MetricsFile,
        is_best: bool,
    ) -> Result<(), TrainingError> {
        self.state.metrics_bytes = metrics.length();
        let tensors = self.task.collect(&mut self.state)?;
        if is_best {
            checkpoint::save(&folder.best(), &self.state, &tensors)?;
        }
        checkpoint::save(&folder.last(), &self.state, &tensors)
    }
}
