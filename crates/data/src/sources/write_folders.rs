//! Writing a set as class folders.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::{DataError, ImageDataset, RgbImage};

impl ImageDataset {
    /// Writes every image as `root/CLASS/NUMBER.png`; classes without images get no folder.
    ///
    /// The folder appears whole or not at all: it is written beside `root` and then renamed.
    ///
    /// # Errors
    /// If `root` exists already, an image cannot be decoded, or the disk refuses.
    pub fn write_folders(&self, root: impl AsRef<Path>) -> Result<(), DataError> {
        let partial = PartialFolder::of(root.as_ref())?;
        for (class, indices) in self.indices_by_class().into_iter().enumerate() {
            let name = self.class_map().name(class).unwrap_or_default();
            let folder = partial.path().join(name);
            if !indices.is_empty() {
                fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
            }
            for (number, index) in indices.into_iter().enumerate() {
                write_png(&folder.join(format!("{number:05}.png")), &self.load(index)?)?;
            }
        }
        partial.finish()
    }
}

/// A folder in the making beside its final place; removed unless it was finished.
pub(crate) struct PartialFolder<'a> {
    root: &'a Path,
    partial: PathBuf,
}

impl<'a> PartialFolder<'a> {
    /// The folder that will become `root`. Refused if that exists.
    pub(crate) fn of(root: &'a Path) -> Result<Self, DataError> {
        if root.exists() {
            return Err(DataError::AlreadyExists { path: root.to_path_buf() });
        }
        let mut name = root.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".partial-{}", std::process::id()));
        Ok(Self { root, partial: root.with_file_name(name) })
    }

    /// Where to write; it may not exist yet.
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Moves the folder to its place.
    pub(crate) fn finish(self) -> Result<(), DataError> {
        fs::create_dir_all(&self.partial).map_err(DataError::io(&self.partial))?;
        fs::rename(&self.partial, self.root).map_err(DataError::io(self.root))
    }
}

impl Drop for PartialFolder<'_> {
    fn drop(&mut self) {
        // Nothing is left to report to; after the renaming there is nothing to remove.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

pub(crate) fn write_png(path: &Path, image: &RgbImage) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width() as u32, image.height() as u32);
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(image.pixels(), width, height, ExtendedColorType::Rgb8).map_err(
        |error| DataError::Decode { item: path.display().to_string(), message: error.to_string() },
    )?;
    fs::write(path, bytes).map_err(DataError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SyntheticConfig;

    #[test]
    fn written_folders_read_back_the_same() {
        let config = SyntheticConfig { head_count: 6, imbalance: 3.0, ..Default::default() };
        let dataset = config.generate(crate::Split::Train).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("set");
        dataset.write_folders(&root).unwrap();
        let again = ImageDataset::from_folders_with_classes(&root, dataset.class_map()).unwrap();
        assert_eq!(again.class_counts().unwrap(), dataset.class_counts().unwrap());
        for index in 0..dataset.len() {
            assert!(again.load(index).unwrap() == dataset.load(index).unwrap(), "image {index}");
        }
        let message = dataset.write_folders(&root).unwrap_err().to_string();
        let expected = format!("{}: already exists; it is not overwritten", root.display());
        assert_eq!(message, expected);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn nothing_is_left_of_a_set_that_cannot_be_written() {
        let parent = tempfile::tempdir().unwrap();
        let bad = parent.path().join("bad.png");
        fs::write(&bad, b"no").unwrap();
        let classes = longtail_types::ClassMap::from_names(["a"]).unwrap();
        let dataset = ImageDataset::from_files([(bad, 0)], classes).unwrap();
        assert!(dataset.write_folders(parent.path().join("set")).is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
