//! What a run trained, whatever its task.

use std::path::Path;

use burn::tensor::Device;

use crate::checkpoint;
use crate::detection::TrainedDetector;
use crate::error::TrainingError;
use crate::recipe_file::{TaskKind, task_of};
use crate::run_folder::find_checkpoint;
use crate::trained::TrainedModel;

/// The model of a checkpoint of any task.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives per program")]
pub enum AnyTrained {
    /// A classifier.
    Classification(TrainedModel),
    /// A detector.
    Detection(TrainedDetector),
}

impl AnyTrained {
    /// Loads a checkpoint, or the last one of a run folder.
    /// # Errors
    /// As [`TrainedModel::load`] and [`TrainedDetector::load`].
    pub fn load(
        path: &Path,
        overrides: &[impl AsRef<str>],
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let path = find_checkpoint(path)?;
        let (state, tensors) = checkpoint::load(&path)?;
        Ok(match task_of(&format!("in {}", path.display()), &state.recipe)? {
            TaskKind::Classification | TaskKind::Classifier => {
                Self::Classification(TrainedModel::of(&path, state, tensors, overrides, device)?)
            }
            TaskKind::Detection => {
                Self::Detection(TrainedDetector::of(&path, state, tensors, overrides, device)?)
            }
        })
    }
}
