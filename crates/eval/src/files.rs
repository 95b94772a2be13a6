//! Files that are written whole or not at all.

use std::path::Path;

use crate::EvalError;

/// Writes a file under a temporary name beside it, flushes it to the disk and renames it. After an
/// error the old file is as it was, and no temporary file is left.
///
/// # Errors
/// If the folder is missing, the disk is full or the file cannot be replaced.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), EvalError> {
    longtail_types::write_whole(path, |file| file.write_all(contents))
        .map_err(|source| EvalError::Io { path: path.to_path_buf(), source })
}

/// Writes named files into an existing folder, each whole or not at all.
pub(crate) fn write_files(
    folder: &Path,
    files: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<(), EvalError> {
    files.into_iter().try_for_each(|(name, text)| write_whole(&folder.join(name), text.as_bytes()))
}
