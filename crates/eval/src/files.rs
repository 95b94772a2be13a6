//! Files that are written whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::EvalError;

/// Writes a file under a temporary name beside it, flushes it to the disk and renames it. After an
/// error the old file is as it was, and no temporary file is left.
///
/// # Errors
/// If the folder is missing, the disk is full or the file cannot be replaced.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), EvalError> {
    let error = |source| EvalError::Io { path: path.to_path_buf(), source };
    let name = path.file_name().ok_or_else(|| error(io::ErrorKind::InvalidFilename.into()))?;
    let mut temporary = OsString::from(".partial-"); // after a kill the next write reuses it
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&temporary);
        error(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_no_other_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("report.json");
        fs::create_dir(&occupied).unwrap();
        let message = write_whole(&occupied, b"x").unwrap_err().to_string();
        assert!(message.contains("report.json"), "{message}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let missing = folder.path().join("none").join("report.json");
        assert!(matches!(write_whole(&missing, b"x"), Err(EvalError::Io { .. })));
    }
}
