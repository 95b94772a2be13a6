//! Class folders: `root/CLASS/IMAGE.jpg`, as ImageNet and torchvision's `ImageFolder`.

use std::fs;
use std::path::{Path, PathBuf};

use longtail_types::ClassMap;

use crate::{DataError, ImageDataset};

/// File name endings of images, in lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Files that file managers leave behind.
const CLUTTER: [&str; 2] = ["Thumbs.db", "desktop.ini"];

impl ImageDataset {
    /// Reads the list of images below `root`: every folder is a class, every file in it an image.
    ///
    /// Class names and the files of a class are sorted by name; labels follow the class names.
    /// Names that start with a dot, and files beside the class folders, are passed over. Images are
    /// not opened.
    ///
    /// # Errors
    /// If `root` is missing or not a folder or has no class folder, if a class folder is empty, or
    /// if it holds a file that is not named as a JPEG or PNG image, or another folder.
    pub fn from_folders(root: impl AsRef<Path>) -> Result<Self, DataError> {
        let folders = class_folders(root.as_ref())?;
        let class_map = ClassMap::from_names(folders.iter().map(|(name, _)| name.as_str()))?;
        Self::from_class_folders(&folders, class_map)
    }

    /// The same with the classes, and in the class order, of another set, e.g. of the training set
    /// for a test set. A class without a folder has no image here.
    ///
    /// # Errors
    /// As [`from_folders`](Self::from_folders), and if a folder is not named as one of the classes.
    pub fn from_folders_with_classes(
        root: impl AsRef<Path>,
        class_map: &ClassMap,
    ) -> Result<Self, DataError> {
        Self::from_class_folders(&class_folders(root.as_ref())?, class_map.clone())
    }

    fn from_class_folders(
        folders: &[(String, PathBuf)],
        class_map: ClassMap,
    ) -> Result<Self, DataError> {
        let mut labelled = Vec::with_capacity(folders.len());
        for (name, path) in folders {
            let label = class_map.index_of(name).ok_or_else(|| DataError::UnknownClassFolder {
                path: path.clone(),
                name: name.clone(),
                num_classes: class_map.len(),
            })?;
            labelled.push((label, name, path));
        }
        labelled.sort_unstable();
        let mut files = Vec::new();
        for (label, name, path) in labelled {
            let images = image_files(path)?;
            if images.is_empty() {
                let (path, name) = (path.clone(), name.clone());
                return Err(DataError::EmptyClassFolder { path, name });
            }
            files.extend(images.into_iter().map(|path| (path, label)));
        }
        Self::from_files(files, class_map)
    }
}

/// Names and paths of the class folders, sorted by name.
fn class_folders(root: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    if !root.exists() {
        return Err(DataError::MissingFolder { path: root.to_path_buf() });
    }
    if !root.is_dir() {
        return Err(DataError::NotAFolder { path: root.to_path_buf() });
    }
    let folders: Vec<_> = entries(root)?.into_iter().filter(|(_, path)| path.is_dir()).collect();
    if folders.is_empty() {
        return Err(DataError::NoClassFolders { path: root.to_path_buf() });
    }
    Ok(folders)
}

/// Images of a class folder, sorted by name.
fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let check = |(name, path): (String, PathBuf)| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let found = match extension {
            _ if path.is_dir() => "it is a folder inside a class folder".to_owned(),
            Some(extension) if EXTENSIONS.contains(&extension.as_str()) => return Ok(path),
            _ => format!("the name {name:?} ends in none of .jpg, .jpeg, .png"),
        };
        Err(DataError::NotAnImage { item: path.display().to_string(), found })
    };
    let is_wanted = |(name, _): &(String, PathBuf)| !CLUTTER.contains(&name.as_str());
    entries(folder)?.into_iter().filter(is_wanted).map(check).collect()
}

/// Names and paths in a folder, sorted by name, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, path));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"").unwrap();
            }
        }
        root
    }

    fn message(root: &Path) -> String {
        let message = ImageDataset::from_folders(root).unwrap_err().to_string();
        message.replace(&root.display().to_string(), "ROOT")
    }

    #[test]
    fn classes_and_files_are_sorted() {
        let root =
            make(&["b/2.png", "b/1.JPEG", "a/z.jpg", "note.txt", "b/.hidden", "a/Thumbs.db"]);
        let dataset = ImageDataset::from_folders(root.path()).unwrap();
        assert_eq!(dataset.class_map().names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(dataset.labels(), [0, 1, 1]);
        let names: Vec<_> =
            (0..3).map(|i| dataset.path(i).unwrap().file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["z.jpg", "1.JPEG", "2.png"]);
        assert_eq!(dataset.class_counts().unwrap().image_counts(), [1, 2]);
    }

    #[test]
    fn a_test_set_takes_the_classes_of_the_training_set() {
        let classes = ClassMap::from_names(["a", "b", "c"]).unwrap();
        let root = make(&["c/1.jpg", "b/1.jpg"]);
        let dataset = ImageDataset::from_folders_with_classes(root.path(), &classes).unwrap();
        assert_eq!(dataset.labels(), [1, 2]);
        assert_eq!(dataset.num_classes(), 3);

        let root = make(&["d/1.jpg"]);
        let error = ImageDataset::from_folders_with_classes(root.path(), &classes).unwrap_err();
        assert!(error.to_string().ends_with("d: class \"d\" is not one of the 3 known classes"));
    }

    #[test]
    fn bad_folders_are_named() {
        assert_eq!(message(Path::new("/no/such")), "ROOT: no such folder");
        let root = make(&["a.jpg"]);
        assert_eq!(message(&root.path().join("a.jpg")), "ROOT: not a folder");
        let expected = "ROOT: no class folders in it; expected ROOT/CLASS/IMAGE.jpg";
        assert_eq!(message(root.path()), expected);
        let root = make(&["a/1.jpg", "b/"]);
        let expected = "ROOT/b: empty class folder (class \"b\" has no image)";
        assert_eq!(message(root.path()), expected);
        let root = make(&["a/1.jpg", "a/notes.txt"]);
        let expected = "ROOT/a/notes.txt: not an image: expected JPEG or PNG, \
                        the name \"notes.txt\" ends in none of .jpg, .jpeg, .png";
        assert_eq!(message(root.path()), expected);
        let root = make(&["a/deep/1.jpg"]);
        let expected = "ROOT/a/deep: not an image: expected JPEG or PNG, \
                        it is a folder inside a class folder";
        assert_eq!(message(root.path()), expected);
    }
}
