//! A scheme as a task of the training loop.

use burn::tensor::{Int, Tensor, TensorData};
use longtail_eval::ClassificationReport;
use longtail_kernels::read_back;
use longtail_losses::StatisticsUpdate;
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use super::step::{Forward, SchemeStep, StageLosses};
use crate::checkpoint::RunState;
use crate::classification::{ClassificationTask, restore_loss};
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::learner::Learner;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;
use crate::window::Window;

/// Prefix of the statistics of the second head's loss in a checkpoint.
const SECOND_LOSS: &str = "second_loss.";

/// A model in training by a scheme.
pub(crate) struct SchemeTask<S: SchemeStep> {
    pub(super) recipe: Recipe,
    pub(super) counts: ClassCounts,
    pub(super) test: TestSet,
    pub(super) learner: Learner<S::Model>,
    pub(super) losses: StageLosses,
    pub(super) updates: [StatisticsUpdate; 2],
    pub(super) step: S,
}

impl<S: SchemeStep> SchemeTask<S> {
    /// Report of the second head, under a name of its own.
    fn second_report(&self) -> Result<Option<(String, ClassificationReport)>, TrainingError> {
        let model = self.learner.inference_model();
        let (Some(second), Some(loss)) = (S::second_head(&model), &self.losses.second) else {
            return Ok(None);
        };
        let classifier = S::classifier(&model).clone();
        let classifier = Classifier { head: second.head.clone(), ..classifier };
        let name = Some(format!("{}, {}", self.recipe.name(), second.name.replace('_', " ")));
        // The calibration of the recipe is that of the head that is evaluated.
        let recipe = Recipe { name, calibration: None, ..self.recipe.clone() };
        let report = self.test.report(&classifier, loss, &recipe, &self.counts)?;
        Ok(Some((second.name.to_string(), report)))
    }
}

impl<S: SchemeStep> Task for SchemeTask<S> {
    type Batch = S::Batch;
    type Batches = S::Batches;
    type Report = ClassificationReport;

    fn begin_epoch(&mut self, epoch: u64) -> Result<(), TrainingError> {
        self.step.begin_epoch(epoch);
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> S::Batches {
        self.step.batches(epoch, start)
    }

    fn shape(batch: &S::Batch) -> (usize, [usize; 2]) {
        let images = S::images(batch);
        (images.len(), images.size)
    }

    fn accumulate(&mut self, batch: S::Batch, _key: u64) -> Result<(), TrainingError> {
        let (num_images, _) = Self::shape(&batch);
        let device = self.learner.device().clone();
        let forward = self.step.forward(&self.learner.model, &self.losses, batch, &device)?;
        let Forward { loss, parts, logits, labels, updates } = forward;
        let plain = device.without_autodiff();
        let labels: Vec<i32> = labels.into_iter().map(|label| label as i32).collect();
        let num_rows = labels.len();
        let labels: Tensor<1, Int> = Tensor::from_data(TensorData::new(labels, [num_rows]), &plain);
        let scores = self.losses.main.scores(logits.without_autodiff())?;
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels).float().sum();
        let values = [("loss", loss.clone()), ("hits", hits)].into_iter().chain(parts);
        self.learner.window.add(values.collect(), num_images);
        self.learner.backward(loss, num_images);
        let losses = [Some(&mut self.losses.main), self.losses.second.as_mut()];
        for ((own, new), loss) in self.updates.iter_mut().zip(updates).zip(losses) {
            let (draws, statistics) = new.split_draws();
            *own = std::mem::take(own).merge(statistics)?;
            if let Some(loss) = loss.filter(|_| draws > 0) {
                loss.apply(StatisticsUpdate::Draws(draws))?;
            }
        }
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let gradients = self.learner.take_gradients();
        self.learner.update(lr, gradients);
        let [main, second] = std::mem::take(&mut self.updates);
        self.losses.main.apply(main)?;
        if let Some(loss) = &mut self.losses.second {
            loss.apply(second)?;
        }
        Ok(())
    }

    fn check_replicas(&self, _step: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let window = self.learner.window.take()?;
        let counts = window.counts;
        let per_image = counts.batches as f32 / counts.images.max(1) as f32;
        let names = window.sums.iter().map(|(name, _)| *name);
        let parts = names.filter(|name| !["loss", "hits"].contains(name));
        let parts = parts.map(|name| (name, window.mean(name))).collect();
        Ok(Losses {
            loss: window.mean("loss"),
            accuracy: Some(window.mean("hits") * per_image),
            parts: NamedNumbers(parts),
            steps: counts.steps,
        })
    }

    fn evaluate(&self, _is_final: bool) -> Result<ClassificationReport, TrainingError> {
        let model = self.learner.inference_model();
        self.test.report(S::classifier(&model), &self.losses.main, &self.recipe, &self.counts)
    }

    fn summary(report: &ClassificationReport) -> Summary {
        ClassificationTask::summary(report)
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        state.window = self.learner.window.counts;
        let mut tensors = self.learner.collect()?;
        if let Some(sums) = Window::collect([&self.learner.window].into_iter())? {
            tensors.insert("window".into(), sums);
        }
        for (name, tensor) in self.losses.main.state() {
            tensors.insert(format!("loss.{name}"), read_back(tensor)?);
        }
        for (name, tensor) in self.losses.second.iter().flat_map(|loss| loss.state()) {
            tensors.insert(format!("{SECOND_LOSS}{name}"), read_back(tensor)?);
        }
        self.step.collect(&mut tensors)?;
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        let device = self.learner.device().clone();
        self.learner = self.learner.restore(&mut tensors, state.step, state.window)?;
        restore_loss(&mut self.losses.main, &mut tensors, &device)?;
        if let Some(loss) = &mut self.losses.second {
            let is_own = |name: &&String| name.starts_with(SECOND_LOSS);
            let names: Vec<String> = tensors.keys().filter(is_own).cloned().collect();
            let own = names.into_iter().filter_map(|name| {
                let data = tensors.remove(&name)?;
                Some((name.replacen(SECOND_LOSS, "loss.", 1), data))
            });
            restore_loss(loss, &mut own.collect(), &device)?;
        }
        self.step = self.step.restore(&mut tensors)?;
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
        let model = self.learner.inference_model();
        S::classifier(&model).save_weights(folder.model())?;
        if let Some((name, second)) = self.second_report()? {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path)
                .map_err(|source| TrainingError::Write { path: path.clone(), source })?;
            second.write(&path)?;
        }
        Ok(report.write(folder.path())?)
    }
}
