//! Second stages that train nothing: tau-normalisation and the nearest class mean.

use std::convert::Infallible;

use burn::module::Module;
use longtail_data::DataError;
use longtail_eval::ClassificationReport;
use longtail_losses::ClassificationLoss;
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use super::core::all_used;
use super::features::extract;
use super::post_hoc::{NcmConfig, TauConfig, TauNormConfig};
use super::start::Base;
use super::tau::{TauChoice, choose};
use crate::checkpoint::RunState;
use crate::classification::ClassificationTask;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::files::write_whole;
use crate::metrics::{Losses, NamedNumbers};
use crate::recipe::Recipe;
use crate::recipe_file::refuse;
use crate::run::{Every, Plan};
use crate::run_folder::RunFolder;
use crate::schedule::ScheduleConfig;
use crate::task::{Summary, Task};
use crate::tensors::{NamedTensors, collect, restore};

use longtail_models::ClassifierHead;

/// A classifier that is computed from the first stage, in a run of no steps.
pub(super) struct FittedTask {
    whole: Recipe,
    counts: ClassCounts,
    test: TestSet,
    model: Classifier,
    loss: ClassificationLoss,
    tau: Option<f64>,
    choice: Option<TauChoice>,
}

impl FittedTask {
    /// Weights over a power of their length.
    pub(super) fn tau_norm(
        base: &Base,
        config: &TauNormConfig,
    ) -> Result<(Self, Plan), TrainingError> {
        let (tau, choice) = match &config.tau {
            TauConfig::Fixed(tau) => (*tau, None),
            TauConfig::Grid(grid) => {
                let choice = choose(base, grid)?;
                (choice.tau, Some(choice))
            }
        };
        let head = base.trained.model().head.tau_normalized(tau)?;
        let (task, plan) = Self::new(base, head)?;
        Ok((Self { tau: Some(tau), choice, ..task }, plan))
    }

    /// The means of the training images of each class, seen as test images.
    pub(super) fn ncm(base: &Base, config: &NcmConfig) -> Result<(Self, Plan), TrainingError> {
        let model = base.trained.model();
        let pipeline = base.recipe.transforms.test_pipeline()?;
        let rows = extract(model, &base.train, pipeline, ("stage_two.method", 1), &base.recipe)?;
        let device = base.device.clone().without_autodiff();
        let (labels, num_classes) = (base.train.labels(), base.counts.num_classes());
        let means = config.means.fit(&rows, labels, num_classes, &device)?;
        Self::new(base, ClassifierHead::NearestMean(means))
    }

    fn new(base: &Base, head: ClassifierHead) -> Result<(Self, Plan), TrainingError> {
        let recipe = &base.recipe;
        let loss = recipe.final_loss().init(&base.counts, &base.device)?;
        let (found, expected) = (head.num_logits(), loss.num_logits());
        if found != expected {
            let problem = format!(
                "{}: the first stage has {found} logits for {expected} classes",
                base.stage.method()
            );
            return Err(refuse("stage_two.method", problem));
        }
        let plan = Plan {
            name: recipe.name(),
            schedule: ScheduleConfig::default().init(0.0, 0, 1)?,
            num_steps: 0,
            num_epochs: 0,
            accumulate: 1,
            evaluate: Every::Steps(0),
            run: recipe.run,
        };
        let task = Self {
            whole: recipe.clone(),
            counts: base.counts.clone(),
            test: TestSet::new(recipe, base.test.clone())?,
            model: Classifier { head, ..base.trained.model().clone() }.valid(),
            loss,
            tau: None,
            choice: None,
        };
        Ok((task, plan))
    }
}

impl Task for FittedTask {
    type Batch = Infallible;
    type Batches = std::iter::Empty<Result<Infallible, DataError>>;
    type Report = ClassificationReport;

    fn begin_epoch(&mut self, _epoch: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn batches(&self, _epoch: u64, _start: usize) -> Self::Batches {
        std::iter::empty()
    }

    fn shape(batch: &Infallible) -> (usize, [usize; 2]) {
        match *batch {}
    }

    fn accumulate(&mut self, batch: Infallible, _key: u64) -> Result<(), TrainingError> {
        match batch {}
    }

    fn step(&mut self, _lr: f64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn check_replicas(&self, _step: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        let parts = NamedNumbers::default();
        Ok(Losses { loss: 0.0, accuracy: None, parts, steps: 0 })
    }

    fn evaluate(&self, _is_final: bool) -> Result<ClassificationReport, TrainingError> {
        self.test.report(&self.model, &self.loss, &self.whole, &self.counts)
    }

    fn summary(report: &ClassificationReport) -> Summary {
        ClassificationTask::summary(report)
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        state.tau = self.tau;
        let mut tensors = NamedTensors::new();
        collect("model", &self.model, &mut tensors)?;
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, _: &RunState) -> Result<Self, String> {
        self.model = restore("model", self.model, &mut tensors)?;
        all_used(&tensors).map(|()| self)
    }

    /// Writes what was tried too, as `tau.json`.
    fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.model.save_weights(folder.model())?;
        if let Some(choice) = &self.choice {
            let text = serde_json::to_string_pretty(choice).unwrap_or_default();
            write_whole(&folder.path().join("tau.json"), |file| file.write_all(text.as_bytes()))?;
        }
        Ok(report.write(folder.path())?)
    }
}
