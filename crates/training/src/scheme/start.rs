//! What every scheme begins with.

use std::sync::Arc;

use burn::tensor::Device;
use longtail_data::{ImageDataset, Loader, LoaderConfig, SamplerConfig};
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use super::breadcrumb::{BreadcrumbConfig, BreadcrumbStep};
use super::class_balanced::{ClassBalancedDistillationConfig, ClassBalancedStep};
use super::contrast::{ContrastConfig, ContrastStep};
use super::self_distillation::{SelfDistillationConfig, SelfDistillationStep};
use super::step::{SchemeStep, StageLosses};
use super::task::SchemeTask;
use crate::calibration;
use crate::checkpoint::RunState;
use crate::classification::plan;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::learner::Learner;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::train::TrainOptions;

/// Data, losses and first weights of a run.
pub(crate) struct SchemeStart {
    pub(super) recipe: Recipe,
    pub(super) counts: ClassCounts,
    pub(super) train: Arc<ImageDataset>,
    pub(super) losses: StageLosses,
    /// The model that is evaluated, on the device with autodiff.
    pub(super) model: Classifier,
    /// With autodiff.
    pub(super) device: Device,
    test: ImageDataset,
}

impl SchemeStart {
    pub(crate) fn new(
        recipe: &Recipe,
        device: &Device,
        options: &TrainOptions,
    ) -> Result<Self, TrainingError> {
        if !options.replicas.is_empty() {
            let problem = "a run with a `scheme` takes one".to_string();
            return Err(TrainingError::Replicas { problem });
        }
        recipe.precision.check(device)?;
        let device = device.clone().autodiff();
        let data = recipe.dataset.load()?;
        let counts = data.train.class_counts()?;
        let main = recipe.final_loss().with_default_seed(recipe.seed).init(&counts, &device)?;
        calibration::fitted(recipe.calibration.as_ref(), &counts, &main, &device)?;
        let config = recipe.final_model();
        let model = config.init(main.num_logits(), main.prior_bias(), recipe.seed, &device)?;
        Ok(Self {
            recipe: recipe.clone(),
            counts,
            train: Arc::new(data.train),
            losses: StageLosses { main, second: None },
            model,
            device,
            test: data.test,
        })
    }

    /// A run of Class-Balanced Distillation.
    pub(crate) fn class_balanced(
        self,
        config: &ClassBalancedDistillationConfig,
    ) -> Result<Run<SchemeTask<ClassBalancedStep>>, TrainingError> {
        let step = ClassBalancedStep::new(&self, config)?;
        let model = self.model.clone();
        self.run(model, step)
    }

    /// A run with a contrastive branch.
    pub(crate) fn contrast(
        self,
        config: &ContrastConfig,
    ) -> Result<Run<SchemeTask<ContrastStep>>, TrainingError> {
        let (model, step) = ContrastStep::new(&self, config)?;
        self.run(model, step)
    }

    /// A run with a hard and a soft head.
    pub(crate) fn self_distillation(
        mut self,
        config: &SelfDistillationConfig,
    ) -> Result<Run<SchemeTask<SelfDistillationStep>>, TrainingError> {
        let model = self.two_heads()?;
        let step = SelfDistillationStep::new(&self, config)?;
        self.run(model, step)
    }

    /// A run of Breadcrumb.
    pub(crate) fn breadcrumb(
        mut self,
        config: &BreadcrumbConfig,
    ) -> Result<Run<SchemeTask<BreadcrumbStep>>, TrainingError> {
        let model = self.two_heads()?;
        let step = BreadcrumbStep::new(&self, config)?;
        self.run(model, step)
    }

    /// A loader of the training images.
    pub(super) fn loader(&self, sampler: SamplerConfig) -> Result<Loader, TrainingError> {
        let config = LoaderConfig {
            batch_size: self.recipe.batch_size,
            workers: self.recipe.run.workers,
            seed: self.recipe.seed,
            drop_last: self.recipe.drop_last,
            ..Default::default()
        };
        let pipeline = self.recipe.transforms.train_pipeline()?;
        Ok(Loader::new(self.train.clone(), pipeline, sampler, config)?)
    }

    fn run<S: SchemeStep>(
        self,
        model: S::Model,
        step: S,
    ) -> Result<Run<SchemeTask<S>>, TrainingError> {
        let recipe = self.recipe;
        let classes = self.train.class_map().clone();
        let state = RunState::new(recipe.to_toml(), self.counts.clone(), classes);
        let plan = plan(&recipe, step.num_batches())?;
        let (optimizer, gradient) = (&recipe.optimizer, recipe.gradient);
        let task = SchemeTask {
            counts: self.counts,
            test: TestSet::new(&recipe, self.test)?,
            learner: Learner::new(model, optimizer, gradient, recipe.ema, &self.device),
            losses: self.losses,
            updates: Default::default(),
            step,
            recipe,
        };
        Ok(Run::new(task, plan, state))
    }
}
