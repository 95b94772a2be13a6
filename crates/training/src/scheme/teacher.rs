//! Finished runs that a model learns from.

use std::path::Path;

use burn::tensor::Device;

use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::recipe_file::refuse;
use crate::run_folder::{check_finished, with_seed};
use crate::trained::TrainedModel;

/// Loads a finished run that sees images as this recipe does. `key` is that of the recipe which names
/// it.
pub(super) fn load(
    key: &str,
    path: &Path,
    recipe: &Recipe,
    device: &Device,
) -> Result<TrainedModel, TrainingError> {
    let path = with_seed(path, recipe.seed);
    check_finished(&path)?;
    let teacher = TrainedModel::load(&path, &[""; 0], device)?;
    let own = recipe.transforms.test_pipeline()?.normalize();
    let other = teacher.recipe().transforms.test_pipeline()?.normalize();
    if own != other {
        let problem = format!(
            "{} normalises images by {other:?}, this recipe by {own:?}: set \
             `transforms.normalize` to that of the teacher",
            path.display()
        );
        return Err(refuse(key, problem));
    }
    Ok(teacher)
}
