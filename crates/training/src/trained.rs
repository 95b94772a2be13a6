//! A trained model with all that is needed to use it.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use longtail_losses::ClassificationLoss;
use longtail_models::Classifier;
use longtail_types::{ClassCounts, ClassMap};

use crate::checkpoint;
use crate::classification::restore_loss;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::run_folder::find_checkpoint;
use crate::tensors::restore;

/// The model of a checkpoint, outside autodiff, with its recipe, loss and classes.
#[derive(Debug)]
pub struct TrainedModel {
    recipe: Recipe,
    model: Classifier,
    loss: ClassificationLoss,
    counts: ClassCounts,
    classes: ClassMap,
    image_size: [usize; 2],
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
        let (state, mut tensors) = checkpoint::load(&path)?;
        let problem = |problem: String| TrainingError::Checkpoint { path: path.clone(), problem };
        let name = format!("in {}", path.display());
        let recipe = Recipe::parse(&name, &state.recipe, overrides)?;
        let (counts, classes) = (state.counts, state.classes);

        let device = device.clone().without_autodiff();
        let mut loss = recipe.loss.init(&counts, &device)?;
        restore_loss(&mut loss, &mut tensors, &device).map_err(problem)?;
        let model = recipe.model.init(loss.num_logits(), loss.prior_bias(), 0, &device)?;
        let prefix = if recipe.ema.is_some() { "ema" } else { "model" };
        let model = restore(prefix, model, &mut tensors).map_err(problem)?.valid();
        Ok(Self { recipe, model, loss, counts, classes, image_size: state.image_size })
    }

    /// The recipe it was trained with, with the overrides.
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

    /// Training images per class.
    pub fn counts(&self) -> &ClassCounts {
        &self.counts
    }

    /// The classes.
    pub fn classes(&self) -> &ClassMap {
        &self.classes
    }

    /// Height and width of the images it was trained on.
    pub fn image_size(&self) -> [usize; 2] {
        self.image_size
    }
}
