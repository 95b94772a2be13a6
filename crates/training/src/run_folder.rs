//! The folder of a run: names, and what may be written into it.

use std::fs;
use std::path::{Path, PathBuf};

use longtail_eval::MetricsLog;

use crate::checkpoint::{self, RunState};
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::recipe_file::{self, RecipeForm, recipe_differences, task_of};
use crate::tensorboard;
use crate::tensors::NamedTensors;

/// Files of a run.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    is_new: bool,
}

/// Where a run begins.
pub(crate) enum Start {
    Fresh,
    Resumed(Box<RunState>, NamedTensors),
}

impl RunFolder {
    /// Makes the folder for a new run, or finds the last checkpoint of the run to resume.
    ///
    /// A run that was stopped before its first checkpoint starts again from the beginning.
    pub(crate) fn open<R: RecipeForm>(
        path: &Path,
        recipe: &R,
        is_resumed: bool,
    ) -> Result<(Self, Start), TrainingError> {
        let write_error = |source| TrainingError::Write { path: path.to_path_buf(), source };
        let is_empty = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(_) if !path.exists() => true,
            Err(source) => return Err(TrainingError::Read { path: path.into(), source }),
        };
        if !is_empty && !is_resumed {
            return Err(TrainingError::RunExists { path: path.to_path_buf() });
        }
        let is_new = !path.exists();
        let folder = Self { path: path.to_path_buf(), is_new };
        if folder.last().exists() {
            let (state, tensors) = checkpoint::load(&folder.last())?;
            same_run(&folder.last(), &state.recipe, recipe)?;
            return Ok((folder, Start::Resumed(Box::new(state), tensors)));
        }
        if let Ok(text) = fs::read_to_string(folder.recipe()) {
            same_run(&folder.recipe(), &text, recipe)?;
        }
        fs::create_dir_all(path).map_err(write_error)?;
        let text = recipe_file::to_toml(recipe);
        let written = write_whole(&folder.recipe(), |file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            folder.discard();
            return Err(error);
        }
        Ok((folder, Start::Fresh))
    }

    /// Removes a new folder after a failure, unless a checkpoint is worth keeping.
    pub(crate) fn discard(&self) {
        if self.is_new && !self.last().exists() {
            // The failure that led here is the one to report.
            let events = fs::read_dir(&self.path).into_iter().flatten().flatten();
            let events = events.map(|entry| entry.path()).filter(|path| is_event_file(path));
            for file in [self.recipe(), self.metrics(), self.best()].into_iter().chain(events) {
                let _ = fs::remove_file(file);
            }
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Draws the training curves.
    pub(crate) fn write_curves(&self, title: &str) -> Result<(), TrainingError> {
        let curves = self.path.join("training_curves.svg");
        Ok(MetricsLog::read(&self.metrics())?.write_curves(&curves, title)?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of the first stage of a two-stage recipe.
    pub(crate) fn stage_one(&self) -> PathBuf {
        self.path.join("stage_one")
    }

    pub(crate) fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub(crate) fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    pub(crate) fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }
}

/// Whether a file was written for TensorBoard.
fn is_event_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(tensorboard::FILE_PREFIX)
}

/// The checkpoint that a path names: a file, or the last one of a run folder.
/// # Errors
/// If there is none.
pub(crate) fn find_checkpoint(path: &Path) -> Result<PathBuf, TrainingError> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let last = path.join("last.safetensors");
    if last.exists() {
        return Ok(last);
    }
    let problem = "there is no last.safetensors in it".to_string();
    Err(TrainingError::NoRun { path: path.to_path_buf(), problem })
}

/// The path of a run, with the seed in place of `{seed}`.
pub(crate) fn with_seed(path: &Path, seed: u64) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace("{seed}", &seed.to_string()).into(),
        None => path.to_path_buf(),
    }
}

/// Refuses the folder of a run that was stopped before its end; a checkpoint may be of any step.
/// # Errors
/// If the folder has a checkpoint and no report.
pub(crate) fn check_finished(path: &Path) -> Result<(), TrainingError> {
    let is_stopped = path.join("last.safetensors").exists() && !path.join("report.json").exists();
    match is_stopped {
        true => Err(TrainingError::NotFinished { path: path.to_path_buf() }),
        false => Ok(()),
    }
}

/// Refuses to go on with another recipe than the one that a file was made with.
pub(crate) fn same_run<R: RecipeForm>(
    path: &Path,
    made_with: &str,
    recipe: &R,
) -> Result<(), TrainingError> {
    let name = path.display().to_string();
    let other = |differences: String| {
        let differences = format!("there, {differences}");
        Err(TrainingError::OtherRun { path: path.to_path_buf(), differences })
    };
    let here = recipe_file::to_toml(recipe);
    if task_of(&name, made_with)? != task_of(&name, &here)? {
        return other("another task was trained".into());
    }
    let made_with: R = recipe_file::parse(&name, made_with, &[""; 0])?;
    let differences = recipe_differences(&made_with, recipe);
    if differences.is_empty() { Ok(()) } else { other(differences.join("; ")) }
}
