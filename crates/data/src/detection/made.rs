//! Files and folders in the making.

use std::fs;
use std::path::{Path, PathBuf};

use longtail_types::write_whole;

use super::write_folder::refuse_existing;
use crate::DataError;

/// What was made so far, removed again unless it is kept.
#[derive(Default)]
pub(super) struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    /// Makes a folder and those it lies in, as far as they are missing.
    pub(super) fn folder(&mut self, folder: &Path) -> Result<(), DataError> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing = folder.ancestors().take_while(is_missing);
        let missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        self.paths.extend(missing.into_iter().rev());
        fs::create_dir_all(folder).map_err(DataError::io(folder))
    }

    /// Notes a file that is about to be made. Refused if it exists.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), DataError> {
        refuse_existing(path)?;
        self.paths.push(path.to_path_buf());
        Ok(())
    }

    /// Writes a new file, whole or not at all, and the folders it lies in.
    pub(super) fn write(&mut self, path: &Path, text: &str) -> Result<(), DataError> {
        self.folder(path.parent().unwrap_or(Path::new("")))?;
        self.file(path)?;
        replace(path, text)
    }

    /// Writes a file that may exist, whole or not at all; in the end it stays in either case.
    pub(super) fn replace(&mut self, path: &Path, text: &str) -> Result<(), DataError> {
        if path.exists() { replace(path, text) } else { self.write(path, text) }
    }

    /// All is done: nothing is removed.
    pub(super) fn keep(mut self) {
        self.paths.clear();
    }
}

fn replace(path: &Path, text: &str) -> Result<(), DataError> {
    write_whole(path, |file| file.write_all(text.as_bytes())).map_err(DataError::io(path))
}

impl Drop for Made {
    fn drop(&mut self) {
        // Nothing is left to report to. A folder with files of others in it stays.
        for path in self.paths.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}
