//! Files that are written whole or not at all.

use std::io::{self, Write};
use std::path::Path;

use crate::error::TrainingError;

/// Writes a file under a temporary name and renames it, with the path in the error.
/// # Errors
/// If any step fails; `path` is then untouched.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), TrainingError> {
    longtail_types::write_whole(path, write)
        .map_err(|source| TrainingError::Write { path: path.to_path_buf(), source })
}
