//! Checks of image files.

use std::fs;
use std::path::{Path, PathBuf};

use super::assemble::KindAndMessage;
use super::raw::RawImage;
use super::synthetic::parallel::in_parallel;
use super::{FileCheck, ProblemKind};
use crate::decode::{decode_image, image_file_size};
use crate::error::swapped;
use crate::{DataError, RgbImage};

/// Looks for the files of all images in a folder; gives each its name there, or what is wrong.
pub(super) fn check_files(
    root: &Path,
    images: &[RawImage],
    check: FileCheck,
) -> Vec<Result<String, KindAndMessage>> {
    in_parallel(0..images.len(), |image| check_file(root, &images[image], check))
}

fn check_file(root: &Path, image: &RawImage, check: FileCheck) -> Result<String, KindAndMessage> {
    if check == FileCheck::None {
        return Ok(image.name.clone());
    }
    let name = find(root, &image.name).ok_or_else(|| {
        let path = root.join(&image.name);
        (ProblemKind::MissingFile, format!("no such file: {}", path.display()))
    })?;
    let path = root.join(name);
    let found = match check {
        FileCheck::None | FileCheck::Exists => return Ok(name.to_owned()),
        FileCheck::Size => image_file_size(&path),
        FileCheck::Decode => decoded_size(&path),
    };
    let found = found.map_err(|error| (ProblemKind::UnreadableFile, error.to_string()))?;
    let expected = image.size.map(|side| side as usize);
    if found == expected {
        return Ok(name.to_owned());
    }
    let message = format!(
        "{} has {}x{} pixels, the annotations say {}x{}{}",
        path.display(),
        found[1],
        found[0],
        expected[1],
        expected[0],
        swapped(found, expected),
    );
    Err((ProblemKind::ImageSize, message))
}

/// The name under which a file is there: as written, or without its folders.
fn find<'a>(root: &Path, name: &'a str) -> Option<&'a str> {
    let bare = name.rsplit(['/', '\\']).next().filter(|bare| !bare.is_empty());
    [Some(name), bare].into_iter().flatten().find(|name| root.join(name).is_file())
}

fn decoded_size(path: &Path) -> Result<[usize; 2], DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let size = |image: RgbImage| [image.height(), image.width()];
    decode_image(&bytes, &path.to_string_lossy()).map(size)
}

/// Files of a folder with one of the endings, in any case, sorted by name.
pub(super) fn files_in(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).map_err(DataError::io(folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(DataError::io(folder))?.path();
        if has_ending(&path, endings) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file name has one of the endings, in any case.
pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let is_one =
        |ending: &std::ffi::OsStr| endings.iter().any(|known| ending.eq_ignore_ascii_case(known));
    path.extension().is_some_and(is_one)
}

/// The lines of a text file that are not blank, with their numbers from 1.
pub(super) fn read_lines(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(number, line)| (number, line.to_owned())).collect())
}
