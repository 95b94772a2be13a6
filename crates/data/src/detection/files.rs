//! Checks of image files.

use std::path::Path;

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
    let bytes = std::fs::read(path).map_err(DataError::io(path))?;
    let size = |image: RgbImage| [image.height(), image.width()];
    decode_image(&bytes, &path.to_string_lossy()).map(size)
}
