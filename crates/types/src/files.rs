//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `path` through a temporary neighbour: write, flush to the disk, rename.
///
/// Whatever happens on the way (a full disk, a kill), `path` holds either its old content or the
/// whole new one. The temporary file is removed when an error can still be handled; after a kill
/// the next write reuses its name.
/// # Errors
/// If any step fails; `path` is then untouched.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let partial = partial_path(path);
    let result = (|| {
        let mut file = BufWriter::new(File::create(&partial)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_folder(path)
    })();
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
    }
    result
}

/// `dir/name.ext` becomes `dir/.partial-name.ext`: hidden, and of the same type.
fn partial_path(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!(".partial-{name}"))
}

/// Makes a rename in the folder of `path` last through a power cut, where the system can.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix)
        && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write_whole(&path, |file| file.write_all(b"old")).unwrap();

        let error = write_whole(&path, |file| {
            file.write_all(b"half of the new")?;
            file.flush()?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
        });

        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["state"]);
    }

    #[test]
    fn an_occupied_name_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("report");
        fs::create_dir(&occupied).unwrap();
        write_whole(&occupied, |file| file.write_all(b"x")).unwrap_err();
        assert_eq!(names(folder.path()), ["report"]);
        write_whole(&folder.path().join("none").join("x"), |_| Ok(())).unwrap_err();
    }

    #[test]
    fn the_new_content_replaces_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for content in ["first", "second, longer"] {
            write_whole(&path, |file| file.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["state"]);
    }
}
