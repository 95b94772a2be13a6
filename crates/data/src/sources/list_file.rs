//! List files: one `path label` per line, as ImageNet-LT, Places-LT and iNaturalist use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use longtail_types::ClassMap;

use crate::{DataError, ImageDataset};

impl ImageDataset {
    /// Reads a list file. Paths are relative to `root`; the label is what follows the last space
    /// of a line. Empty lines are passed over.
    ///
    /// `class_map` gives the classes; without it they are `0..=largest label`, named by number, or
    /// by the folder of their images where each class has one folder of its own and no other class
    /// shares its name. Pass the training set's [`class_map`](Self::class_map) for a test set.
    ///
    /// # Errors
    /// If the file cannot be read or lists nothing; with the line, if one is not `path label`, or
    /// the label is outside the classes, or the image is not there.
    pub fn from_list(
        list: impl AsRef<Path>,
        root: impl AsRef<Path>,
        class_map: Option<&ClassMap>,
    ) -> Result<Self, DataError> {
        let (list, root) = (list.as_ref(), root.as_ref());
        if !root.is_dir() {
            return Err(DataError::MissingFolder { path: root.to_path_buf() });
        }
        let text = fs::read_to_string(list).map_err(DataError::io(list))?;
        let mut items = Vec::new();
        for (number, text) in text.lines().enumerate() {
            if !text.trim().is_empty() {
                items.push(parse_line(list, number + 1, text, class_map)?);
            }
        }
        if items.is_empty() {
            return Err(DataError::EmptyList { path: list.to_path_buf() });
        }
        let class_map = match class_map {
            Some(class_map) => class_map.clone(),
            None => ClassMap::from_names(class_names(&items))?,
        };
        let mut files = Vec::with_capacity(items.len());
        for (line, path, label) in items {
            let image = root.join(path);
            if !image.is_file() {
                let path = list.to_path_buf();
                return Err(DataError::ListImage { path, line, image });
            }
            files.push((image, label));
        }
        Self::from_files(files, class_map)
    }
}

/// Line number, path and label.
type Item<'a> = (usize, &'a str, usize);

/// Labels above this are taken for a mistake when the classes are not known.
const MAX_CLASSES: usize = 1_000_000;

fn parse_line<'a>(
    list: &Path,
    line: usize,
    text: &'a str,
    class_map: Option<&ClassMap>,
) -> Result<Item<'a>, DataError> {
    let path = list.to_path_buf();
    let num_classes = class_map.map_or(MAX_CLASSES, ClassMap::len);
    let text = text.trim();
    let Some((image, label)) = text.rsplit_once(char::is_whitespace) else {
        return Err(DataError::ListLine { path, line, text: text.to_owned() });
    };
    let number: Option<i64> = label.parse().ok();
    let Some(number) = number else {
        return Err(DataError::ListLine { path, line, text: text.to_owned() });
    };
    match usize::try_from(number) {
        Ok(label) if label < num_classes => Ok((line, image.trim_end(), label)),
        _ => Err(DataError::ListLabel { path, line, label: label.to_owned(), num_classes }),
    }
}

/// The folder of each class's images where that names the classes, else their numbers.
fn class_names(items: &[Item<'_>]) -> Vec<String> {
    let num_classes = items.iter().map(|&(_, _, label)| label + 1).max().unwrap_or(0);
    let numbers = || (0..num_classes).map(|label| label.to_string()).collect();
    let mut folders = BTreeMap::new();
    for &(_, path, label) in items {
        let folder = Path::new(path).parent().and_then(Path::file_name);
        let Some(folder) = folder.and_then(|f| f.to_str()) else { return numbers() };
        if *folders.entry(label).or_insert(folder) != folder {
            return numbers();
        }
    }
    let mut names: Vec<String> = folders.values().map(|&folder| folder.to_owned()).collect();
    if names.len() < num_classes {
        return numbers();
    }
    let in_order = names.clone();
    names.sort_unstable();
    names.dedup();
    if names.len() == num_classes { in_order } else { numbers() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str, classes: Option<usize>) -> Result<ImageDataset, String> {
        let root = tempfile::tempdir().unwrap();
        for file in ["cat/1.jpg", "cat/2 b.jpg", "dog/1.jpg"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        fs::write(root.path().join("list.txt"), list).unwrap();
        let map = classes.map(|n| ClassMap::from_names((0..n).map(|i| format!("c{i}"))).unwrap());
        let dataset =
            ImageDataset::from_list(root.path().join("list.txt"), root.path(), map.as_ref());
        let root = root.path().display().to_string();
        dataset.map_err(|error| error.to_string().replace(&root, "ROOT"))
    }

    #[test]
    fn lines_become_images() {
        let dataset = read("dog/1.jpg 1\r\n\ncat/2 b.jpg\t0\ncat/1.jpg 0", None).unwrap();
        assert_eq!(dataset.labels(), [1, 0, 0]);
        assert_eq!(dataset.class_map().names().collect::<Vec<_>>(), ["cat", "dog"]);
        assert!(dataset.path(1).unwrap().ends_with("cat/2 b.jpg"));
        let dataset = read("dog/1.jpg 2\ncat/1.jpg 0", Some(4)).unwrap();
        assert_eq!(dataset.class_counts().unwrap().image_counts(), [1, 0, 1, 0]);
    }

    #[test]
    fn classes_without_a_folder_of_their_own_are_numbered() {
        for list in ["cat/1.jpg 0\ndog/1.jpg 0", "cat/1.jpg 1\ncat/2 b.jpg 0", "cat/1.jpg 1"] {
            let dataset = read(list, None).unwrap();
            assert_eq!(dataset.class_map().name(0), Some("0"), "{list}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |list, classes| read(list, classes).unwrap_err();
        let expected = "ROOT/list.txt, line 2: label 3 is outside 0..3";
        assert_eq!(error("cat/1.jpg 0\ndog/1.jpg 3", Some(3)), expected);
        let expected = "ROOT/list.txt, line 1: label -1 is outside 0..3";
        assert_eq!(error("cat/1.jpg -1", Some(3)), expected);
        let expected = "ROOT/list.txt, line 1: label 99999999 is outside 0..1000000";
        assert_eq!(error("cat/1.jpg 99999999", None), expected);
        let expected = "ROOT/list.txt, line 3: expected `path label`, got \"cat/1.jpg\"";
        assert_eq!(error("cat/1.jpg 0\n\ncat/1.jpg", None), expected);
        let expected = "ROOT/list.txt, line 1: expected `path label`, got \"cat/1.jpg x\"";
        assert_eq!(error("cat/1.jpg x", None), expected);
        let expected = "ROOT/list.txt, line 1: no such image: ROOT/cow/1.jpg";
        assert_eq!(error("cow/1.jpg 0", None), expected);
        assert_eq!(error("\n \n", None), "ROOT/list.txt: no images listed");
    }

    #[test]
    fn missing_files_are_named() {
        let error = |list: &str, root: &str| ImageDataset::from_list(list, root, None).unwrap_err();
        assert_eq!(error("list.txt", "/no/such").to_string(), "/no/such: no such folder");
        assert!(error("/no/such.txt", "/").to_string().starts_with("/no/such.txt: No such file"));
    }
}
