//! Sets of any form as folders of Pascal VOC and YOLO, images included.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::made::Made;
use super::{DetectionDataset, voc, yolo};
use crate::DataError;
use crate::sources::write_png;

/// Which folders [`DetectionDataset::write_folder`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderForm {
    /// `Annotations/IMAGE.xml`, `JPEGImages/IMAGE.jpg` and `ImageSets/Main/SPLIT.txt`. Borders count
    /// pixels from 1; crowds and ignored objects are `difficult`. Masks have no place in it, nor
    /// does a class that no image holds.
    Voc,
    /// `images/SPLIT/IMAGE.jpg`, `labels/SPLIT/IMAGE.txt` and `data.yaml`. Boxes in fractions of
    /// the image; masks, crowds and ignored objects have no place in it.
    Yolo,
}

impl DetectionDataset {
    /// Writes this set as one split of a folder, which may hold other splits of the same classes.
    /// Images are linked where the disk allows it, and copied elsewhere; those in memory become PNG
    /// files.
    ///
    /// Returns how many objects have no place in the form. After an error nothing of the split is left.
    ///
    /// # Errors
    /// If the split or a file of it is there already, two images have the same name, an image has no file, a name
    /// cannot be written in this form, another split has other classes, or the disk refuses.
    pub fn write_folder(
        &self,
        root: &Path,
        split: &str,
        form: FolderForm,
    ) -> Result<usize, DataError> {
        let bad = |message: String| DataError::Folder { path: root.to_path_buf(), message };
        let is_plain = |char: char| char.is_alphanumeric() || "-_.".contains(char);
        if split.is_empty() || !split.chars().all(is_plain) || split.starts_with('.') {
            return Err(bad(format!("{split:?} is no name of a split: letters, digits, - and _")));
        }
        let files = self.file_names().map_err(bad)?;
        let mut made = Made::default();
        // What makes the split known to readers is written last.
        let left_out = match form {
            FolderForm::Voc => {
                let list = root.join("ImageSets/Main").join(format!("{split}.txt"));
                refuse_existing(&list)?;
                voc::check_names(self, root)?;
                self.copy_images(&root.join("JPEGImages"), &files, &mut made)?;
                voc::write_annotations(self, root, &files, &mut made)?;
                let stems: String = files.iter().map(|file| format!("{}\n", stem(file))).collect();
                made.write(&list, &stems)?;
                0
            }
            FolderForm::Yolo => {
                let images = root.join("images").join(split);
                refuse_existing(&images)?;
                let settings = yolo::settings(self, root, split)?;
                self.copy_images(&images, &files, &mut made)?;
                let labels = root.join("labels").join(split);
                let left_out = yolo::write_labels(self, &labels, &files, &mut made)?;
                made.replace(&root.join("data.yaml"), &settings)?;
                left_out
            }
        };
        made.keep();
        Ok(left_out)
    }

    /// A file name for each image, without folders; those of other folders are kept apart by theirs.
    fn file_names(&self) -> Result<Vec<String>, String> {
        let mut used = HashSet::new();
        let names = (0..self.num_images()).map(|index| {
            let name = match self.file_name(index) {
                Some(name) => name.replace(['/', '\\'], "_"),
                None => format!("{:012}.png", self.image(index).id),
            };
            match used.insert(stem(&name).to_owned()) {
                true => Ok(name),
                false => Err(format!("two images would be {:?}", stem(&name))),
            }
        });
        names.collect()
    }

    fn copy_images(
        &self,
        folder: &Path,
        files: &[String],
        made: &mut Made,
    ) -> Result<(), DataError> {
        made.folder(folder)?;
        for (index, file) in files.iter().enumerate() {
            let target = folder.join(file);
            made.file(&target)?;
            match self.image(index).file {
                Some(source) if fs::hard_link(&source, &target).is_ok() => {}
                Some(source) => {
                    fs::copy(&source, &target).map_err(DataError::io(&source))?;
                }
                None => write_png(&target, &self.load(index)?)?,
            }
        }
        Ok(())
    }
}

/// A file name without its ending.
pub(super) fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

pub(super) fn refuse_existing(path: &Path) -> Result<(), DataError> {
    match path.exists() {
        true => {
            Err(DataError::Folder { path: path.to_path_buf(), message: "exists already".into() })
        }
        false => Ok(()),
    }
}
