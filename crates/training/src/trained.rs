//! A trained model with all that is needed to use it.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use longtail_data::ImageDataset;
use longtail_eval::ClassificationReport;
use longtail_losses::{ClassificationLoss, ScoreCalibration};
use longtail_models::Classifier;
use longtail_types::{ClassCounts, ClassMap};

use crate::calibration;
use crate::checkpoint::{self, CheckpointId, RunState};
use crate::classification::restore_loss;
use crate::error::TrainingError;
use crate::evaluate::TestSet;
use crate::recipe::Recipe;
use crate::recipe_file::{TaskKind, task_of};
use crate::run_folder::find_checkpoint;
use crate::stage_two::ClassifierRecipe;
use crate::tensors::{NamedTensors, restore};
use crate::threads::use_threads;

/// The model of a checkpoint, outside autodiff, with its recipe, loss and classes.
#[derive(Debug)]
pub struct TrainedModel {
    recipe: Recipe,
    model: Classifier,
    loss: ClassificationLoss,
    calibration: Option<ScoreCalibration>,
    counts: ClassCounts,
    classes: ClassMap,
    image_size: [usize; 2],
    checkpoint: CheckpointId,
}

impl TrainedModel {
    /// Loads a checkpoint, or the last one of a run folder. With an average of weights (EMA) in it,
    /// that is the model.
    /// # Errors
    /// If there is no whole checkpoint, or `overrides` of its recipe are wrong or change the model.
    pub fn load(
        path: &Path,
        overrides: &[impl AsRef<str>],
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let path = find_checkpoint(path)?;
        let (state, tensors) = checkpoint::load(&path)?;
        Self::of(&path, state, tensors, overrides, device)
    }

    /// The model of a checkpoint that was read.
    pub(crate) fn of(
        path: &Path,
        state: RunState,
        mut tensors: NamedTensors,
        overrides: &[impl AsRef<str>],
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let problem = |problem: String| TrainingError::Checkpoint { path: path.into(), problem };
        let name = format!("in {}", path.display());
        let recipe = match (task_of(&name, &state.recipe)?, &state.base) {
            (TaskKind::Classification, _) => Recipe::parse(&name, &state.recipe, overrides)?,
            (TaskKind::Classifier, Some(base)) => {
                let base = Recipe::parse(&name, base, &[""; 0])?;
                let stage = ClassifierRecipe::parse(&name, &state.recipe, &[""; 0])?;
                Recipe::parse(&name, &stage.whole(&base).to_toml(), overrides)?
            }
            (TaskKind::Classifier, None) => {
                return Err(problem("the recipe of its first stage is missing".into()));
            }
            (TaskKind::Detection, _) => {
                return Err(problem("it holds a detector, not a classifier".into()));
            }
        };
        let recipe = recipe.with_tau(state.tau);
        let checkpoint = CheckpointId::new(state.step, &tensors);
        let (counts, classes) = (state.counts, state.classes);

        let device = device.clone().without_autodiff();
        let mut loss = recipe.final_loss().init(&counts, &device)?;
        restore_loss(&mut loss, &mut tensors, &device).map_err(problem)?;
        let model = recipe.final_model().init(loss.num_logits(), loss.prior_bias(), 0, &device)?;
        // The average ends with the first stage.
        let has_average = recipe.ema.is_some() && recipe.stage_two.is_none();
        let prefix = if has_average { "ema" } else { "model" };
        let path = if recipe.stage_two.is_none() { recipe.scheme.model_path() } else { "" };
        let prefix = format!("{prefix}{path}");
        let model = restore(&prefix, model, &mut tensors).map_err(problem)?.valid();
        let config = recipe.calibration.as_ref();
        let calibration = calibration::fitted(config, &counts, &loss, &device)?;
        let image_size = state.image_size;
        Ok(Self { recipe, model, loss, calibration, counts, classes, image_size, checkpoint })
    }

    /// Evaluates the model on the test set of its recipe.
    /// # Errors
    /// If the set is refused, or its classes are not the model's.
    pub fn evaluate(&self) -> Result<ClassificationReport, TrainingError> {
        let test = self.recipe.dataset.load_test(&self.classes)?;
        self.evaluate_each(test, &mut |_, _, _| ())
    }

    /// Evaluates the model on the validation images of its recipe, by which settings are chosen that
    /// no training finds: the strength of a calibration, or of an effect at test time.
    /// # Errors
    /// If the recipe names none, its sets are refused, or their classes are not the model's.
    pub fn evaluate_validation(&self) -> Result<ClassificationReport, TrainingError> {
        use_threads(self.recipe.run.threads)?;
        let images = TestSet::validation(&self.recipe, &self.classes)?;
        images.report(&self.model, &self.loss, &self.recipe, &self.counts)
    }

    /// Evaluates the model on images with the classes of its test set; `seen` gets the index of
    /// every image in `test`, its label and its scores, `[num_classes]`.
    /// # Errors
    /// If an image cannot be read, or there is none.
    pub fn evaluate_each(
        &self,
        test: ImageDataset,
        seen: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<ClassificationReport, TrainingError> {
        use_threads(self.recipe.run.threads)?;
        let test = TestSet::new(&self.recipe, test)?;
        test.report_each(&self.model, &self.loss, &self.recipe, &self.counts, seen)
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.model.devices().into_iter().next().unwrap_or_default()
    }

    /// The recipe it was trained with, with the overrides. That of a second stage on a finished run
    /// is the recipe of both.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The network.
    pub fn model(&self) -> &Classifier {
        &self.model
    }

    /// The loss it was trained with, which turns logits into scores.
    pub fn loss(&self) -> &ClassificationLoss {
        &self.loss
    }

    /// Scores of logits, `[rows, num_logits]` to `[rows, num_classes]`: the loss's, calibrated if the
    /// recipe says so.
    /// # Errors
    /// If the width of the logits is wrong.
    pub fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, TrainingError> {
        Ok(self.loss.calibrated_scores(logits, self.calibration.as_ref())?)
    }

    /// Training images per class.
    pub fn counts(&self) -> &ClassCounts {
        &self.counts
    }

    /// The classes.
    pub fn classes(&self) -> &ClassMap {
        &self.classes
    }

    /// The checkpoint it comes from.
    pub(crate) fn checkpoint(&self) -> &CheckpointId {
        &self.checkpoint
    }

    /// Height and width of the images it was trained on.
    pub fn image_size(&self) -> [usize; 2] {
        self.image_size
    }
}
