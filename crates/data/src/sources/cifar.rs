//! The binary files of CIFAR-10 and CIFAR-100.

use std::fs;
use std::path::{Path, PathBuf};

use longtail_types::ClassMap;
use serde::{Deserialize, Serialize};

use super::Split;
use crate::dataset::PixelStore;
use crate::{DataError, ImageDataset};

/// Which of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CifarKind {
    /// CIFAR-10: `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin`, `batches.meta.txt`.
    Cifar10,
    /// CIFAR-100 with its fine labels: `train.bin`, `test.bin`, `fine_label_names.txt`.
    Cifar100,
}

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

impl CifarKind {
    fn num_classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Bytes before the pixels of a record; the last one is the label that is used.
    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2, // coarse, fine
        }
    }

    fn files(self, split: Split) -> Vec<String> {
        match (self, split) {
            (Self::Cifar10, Split::Train) => {
                (1..=5).map(|i| format!("data_batch_{i}.bin")).collect()
            }
            (Self::Cifar10, Split::Test) => vec!["test_batch.bin".to_owned()],
            (Self::Cifar100, Split::Train) => vec!["train.bin".to_owned()],
            (Self::Cifar100, Split::Test) => vec!["test.bin".to_owned()],
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }
}

impl ImageDataset {
    /// Reads the binary version of CIFAR from `root` into memory, in the order of the files.
    ///
    /// Without the names file classes are named by number.
    ///
    /// # Errors
    /// If `root` or a file is missing, a file is not a whole number of records, a label is outside
    /// the classes, or the names file does not hold one name per class, each another.
    pub fn from_cifar(
        root: impl AsRef<Path>,
        kind: CifarKind,
        split: Split,
    ) -> Result<Self, DataError> {
        let root = root.as_ref();
        if !root.is_dir() {
            return Err(DataError::MissingFolder { path: root.to_path_buf() });
        }
        let names_file = root.join(kind.names_file());
        let names = read_names(&names_file, kind.num_classes())?;
        let classes = ClassMap::from_names(names)
            .map_err(|source| DataError::ClassNames { path: names_file, source })?;
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        for file in kind.files(split) {
            read_records(&root.join(file), kind, &mut labels, &mut pixels)?;
        }
        let name = format!("{} {split}", root.display());
        let store = PixelStore { name, width: SIDE, height: SIDE, pixels };
        Self::from_store(store, labels, classes)
    }
}

fn read_names(path: &Path, num_classes: usize) -> Result<Vec<String>, DataError> {
    if !path.exists() {
        return Ok((0..num_classes).map(|class| class.to_string()).collect());
    }
    let text = fs::read_to_string(path).map_err(DataError::io(path))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() != num_classes {
        let (path, found) = (path.to_path_buf(), names.len());
        return Err(DataError::CifarNames { path, found, expected: num_classes });
    }
    Ok(names)
}

/// Appends the records of a file: labels, then three colour planes, which become pixels.
fn read_records(
    path: &PathBuf,
    kind: CifarKind,
    labels: &mut Vec<usize>,
    pixels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let (head, num_classes) = (kind.label_bytes(), kind.num_classes());
    let record = head + 3 * PLANE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let (path, bytes) = (path.clone(), bytes.len() as u64);
        return Err(DataError::CifarSize { path, bytes, record });
    }
    pixels.reserve(3 * PLANE * (bytes.len() / record));
    for (i, bytes) in bytes.chunks_exact(record).enumerate() {
        let (label, planes) = (bytes[head - 1], &bytes[head..]);
        if usize::from(label) >= num_classes {
            let path = path.clone();
            return Err(DataError::CifarLabel { path, record: i, label, num_classes });
        }
        labels.push(usize::from(label));
        let colors = (0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]);
        pixels.extend(colors);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose planes are `x`, `y` and the label.
    fn record(head: &[u8]) -> Vec<u8> {
        let plane = |value: fn(usize) -> u8| (0..PLANE).map(value);
        let planes = plane(|i| (i % SIDE) as u8).chain(plane(|i| (i / SIDE) as u8));
        let label = head[head.len() - 1];
        head.iter().copied().chain(planes).chain(std::iter::repeat_n(label, PLANE)).collect()
    }

    fn error(root: &Path, kind: CifarKind, split: Split) -> String {
        let error = ImageDataset::from_cifar(root, kind, split).unwrap_err().to_string();
        error.replace(&root.display().to_string(), "ROOT")
    }

    #[test]
    fn cifar10_is_read_in_order() {
        let root = tempfile::tempdir().unwrap();
        for i in 1..=5_u8 {
            let bytes = [record(&[i]), record(&[9 - i])].concat();
            fs::write(root.path().join(format!("data_batch_{i}.bin")), bytes).unwrap();
        }
        let dataset =
            ImageDataset::from_cifar(root.path(), CifarKind::Cifar10, Split::Train).unwrap();
        assert_eq!(dataset.labels(), [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
        let image = dataset.load(3).unwrap();
        assert_eq!((image.width(), image.height()), (32, 32));
        assert_eq!(image.get(5, 11), [5, 11, 7]);
        assert_eq!(dataset.class_map().name(3), Some("3"));

        let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
        fs::write(root.path().join("batches.meta.txt"), names).unwrap();
        let dataset =
            ImageDataset::from_cifar(root.path(), CifarKind::Cifar10, Split::Train).unwrap();
        assert_eq!(dataset.class_map().name(3), Some("cat"));
        assert!(dataset.item_name(4).ends_with(" train image 4"));
    }

    #[test]
    fn cifar100_uses_the_fine_label() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("test.bin"), record(&[3, 99])).unwrap();
        let dataset =
            ImageDataset::from_cifar(root.path(), CifarKind::Cifar100, Split::Test).unwrap();
        assert_eq!(dataset.labels(), [99]);
        assert_eq!(dataset.num_classes(), 100);
    }

    #[test]
    fn bad_files_are_named() {
        let missing = Path::new("/no/such");
        let expected = "ROOT: no such folder";
        assert_eq!(error(missing, CifarKind::Cifar10, Split::Train), expected);

        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("test_batch.bin");
        let error = || error(root.path(), CifarKind::Cifar10, Split::Test);
        assert!(error().starts_with("ROOT/test_batch.bin: No such file"), "{}", error());
        fs::write(&file, vec![0; 3072]).unwrap();
        let expected = "ROOT/test_batch.bin: 3072 bytes is not a whole number of 3073-byte records";
        assert_eq!(error(), expected);
        fs::write(&file, b"").unwrap();
        assert!(error().contains(": 0 bytes is not"), "{}", error());
        fs::write(&file, [record(&[0]), record(&[10])].concat()).unwrap();
        assert_eq!(error(), "ROOT/test_batch.bin, record 1: label 10 is outside 0..10");
        fs::write(root.path().join("batches.meta.txt"), "a\nb\n").unwrap();
        assert_eq!(error(), "ROOT/batches.meta.txt: 2 class names, expected 10");
    }
}
