//! First stages that several recipes of a comparison have in common.

use std::path::{Path, PathBuf};

use crate::recipe_file::{RecipeForm, recipe_differences};

/// First stages that are finished, for the recipes that have the same.
pub(crate) struct FirstStages<R>(Vec<(R, PathBuf)>);

impl<R> Default for FirstStages<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R: RecipeForm> FirstStages<R> {
    /// The folder of a run of this first stage.
    pub(crate) fn find(&self, first: &R) -> Option<PathBuf> {
        let is_same = |(other, _): &&(R, PathBuf)| recipe_differences(other, first).is_empty();
        self.0.iter().find(is_same).map(|(_, place)| place.clone())
    }

    /// Takes in that of a finished run, unless it was shared itself or its checkpoint is gone.
    pub(crate) fn add(&mut self, first: R, run: &Path, has_two: bool) {
        let place = if has_two { run.join("stage_one") } else { run.to_path_buf() };
        if place.join("last.safetensors").exists() {
            self.0.push((first, place));
        }
    }
}
