//! A trained detector with all that is needed to use it.

use std::path::Path;

use burn::tensor::Device;
use longtail_data::DetectionDataset;
use longtail_models::Detector;
use longtail_types::{ClassCounts, ClassMap, Detection};

use super::predictor::DetectionPredictor;
use super::recipe::DetectionRecipe;
use super::result::DetectionResult;
use super::test_set::DetectionTestSet;
use crate::checkpoint::{self, RunState};
use crate::error::TrainingError;
use crate::recipe_file::{TaskKind, parse, task_of};
use crate::run_folder::find_checkpoint;
use crate::tensors::{NamedTensors, restore};
use crate::threads::use_threads;

/// The detector of a checkpoint, outside autodiff, with its recipe and classes.
#[derive(Debug)]
pub struct TrainedDetector {
    recipe: DetectionRecipe,
    predictor: DetectionPredictor,
    counts: ClassCounts,
}

impl TrainedDetector {
    /// Loads a checkpoint, or the last one of a run folder. With an average of weights (EMA) in it,
    /// that is the model.
    /// # Errors
    /// If there is no whole checkpoint of a detector, or `overrides` of its recipe are wrong or
    /// change the model.
    pub fn load(
        path: &Path,
        overrides: &[impl AsRef<str>],
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let path = find_checkpoint(path)?;
        let (state, tensors) = checkpoint::load(&path)?;
        Self::of(&path, state, tensors, overrides, device)
    }

    /// The detector of a checkpoint that was read.
    pub(crate) fn of(
        path: &Path,
        state: RunState,
        mut tensors: NamedTensors,
        overrides: &[impl AsRef<str>],
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let problem = |problem: String| TrainingError::Checkpoint { path: path.into(), problem };
        let name = format!("in {}", path.display());
        if task_of(&name, &state.recipe)? != TaskKind::Detection {
            return Err(problem("it holds a classifier, not a detector".into()));
        }
        let recipe: DetectionRecipe = parse(&name, &state.recipe, overrides)?;
        let device = device.clone().without_autodiff();
        let loss = recipe.final_loss().init(&state.counts, &device)?;
        let mut detector = recipe.model.init(loss, 0, &device)?;
        detector.calibrate(recipe.calibration.as_ref(), &state.counts)?;
        let prefix = if recipe.ema.is_some() { "ema" } else { "model" };
        let detector = restore(prefix, detector, &mut tensors).map_err(problem)?;
        let RunState { counts, classes, .. } = state;
        let padding = recipe.batches.padding.clone();
        let predictor = DetectionPredictor::new(detector, &recipe.transforms, padding, classes)?;
        Ok(Self { recipe, predictor, counts })
    }

    /// The detector ready for images.
    pub fn predictor(&self) -> &DetectionPredictor {
        &self.predictor
    }

    /// The detector ready for images, without the rest.
    pub fn into_predictor(self) -> DetectionPredictor {
        self.predictor
    }

    /// Evaluates the detector on the validation set of its recipe.
    /// # Errors
    /// If the set is refused, or its classes are not the detector's.
    pub fn evaluate(&self) -> Result<DetectionResult, TrainingError> {
        let val = self.recipe.dataset.load_val(self.classes())?;
        self.evaluate_each(val, &mut |_, _| ())
    }

    /// Evaluates the detector on the validation set of its recipe, loaded before; `seen` gets the
    /// index of every image in `val` and what was found in it, in its own pixels.
    /// # Errors
    /// If an image cannot be read, or the device fails.
    pub fn evaluate_each(
        &self,
        val: DetectionDataset,
        seen: &mut dyn FnMut(usize, &[Detection]),
    ) -> Result<DetectionResult, TrainingError> {
        use_threads(self.recipe.run.threads)?;
        let test = DetectionTestSet::new(&self.recipe, val, &self.counts)?;
        test.evaluate_each(self.detector(), true, seen)
    }

    /// The recipe it was trained with, with the overrides.
    pub fn recipe(&self) -> &DetectionRecipe {
        &self.recipe
    }

    /// The network.
    pub fn detector(&self) -> &Detector {
        self.predictor.detector()
    }

    /// Training images and objects per class.
    pub fn counts(&self) -> &ClassCounts {
        &self.counts
    }

    /// The classes.
    pub fn classes(&self) -> &ClassMap {
        self.predictor.classes()
    }
}
