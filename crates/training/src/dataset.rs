//! The data set of a recipe.

use std::path::PathBuf;

use longtail_data::{CifarKind, ImageDataset, LongTail, LongTailProfile, Split, SyntheticConfig};
use longtail_types::ClassMap;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// Where images come from, and which of them are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Files or generator.
    pub source: DatasetSource,
    /// Cuts the training set to a long tail. Default: the set as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_tail: Option<LongTail>,
    /// Key of the cut where it shuffles; keep it while `seed` changes. Default: 0.
    #[serde(default)]
    pub subset_seed: u64,
    /// Images to choose settings by: the exponent of tau-normalisation, the rates of Meta Sampler.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
}

/// Where validation images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ValidationConfig {
    /// A part of the training set, after the cut to a long tail, that no stage is trained on; see
    /// [`ImageDataset::hold_out`]. A class with one image keeps it for training.
    HeldOut {
        /// Part of the images of each class. Default: 0.1.
        #[serde(default = "tenth")]
        share: f64,
        /// Key of the choice; keep it while the seed of the recipe changes. Default: 0.
        #[serde(default)]
        seed: u64,
    },
    /// `folder/CLASS/IMAGE`.
    ClassFolders {
        /// The folder.
        folder: PathBuf,
    },
    /// A file with lines `path label`.
    List {
        /// What the paths in the file are relative to.
        root: PathBuf,
        /// The list.
        list: PathBuf,
    },
}

fn tenth() -> f64 {
    0.1
}

/// A kind of data set. Relative paths are relative to the current directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DatasetSource {
    /// `root/train/CLASS/IMAGE` and `root/test/CLASS/IMAGE`.
    ClassFolders {
        /// The folder that holds both.
        root: PathBuf,
        /// Name of the training folder. Default: `train`.
        #[serde(default = "train_folder")]
        train: PathBuf,
        /// Name of the test folder. Default: `test`.
        #[serde(default = "test_folder")]
        test: PathBuf,
    },
    /// The binary files of CIFAR-10.
    Cifar10 {
        /// The folder with `data_batch_1.bin`.
        root: PathBuf,
    },
    /// The binary files of CIFAR-100, fine labels.
    Cifar100 {
        /// The folder with `train.bin`.
        root: PathBuf,
    },
    /// Files with lines `path label`, as of ImageNet-LT, Places-LT and iNaturalist.
    List {
        /// What the paths in the files are relative to.
        root: PathBuf,
        /// The list of training images.
        train: PathBuf,
        /// The list of test images.
        test: PathBuf,
    },
    /// Ten classes of drawn shapes, made on first use; long-tailed by itself.
    Synthetic(SyntheticConfig),
}

fn train_folder() -> PathBuf {
    "train".into()
}

fn test_folder() -> PathBuf {
    "test".into()
}

/// Training and test images with the same classes.
#[derive(Clone, Debug)]
pub struct Datasets {
    /// Images to learn from, after the cut to a long tail.
    pub train: ImageDataset,
    /// Images to choose settings by, if the recipe names some.
    pub validation: Option<ImageDataset>,
    /// Images to measure with.
    pub test: ImageDataset,
}

impl DatasetConfig {
    /// Lists, reads or draws the images.
    /// # Errors
    /// If a folder or file is missing or not as expected.
    pub fn load(&self) -> Result<Datasets, TrainingError> {
        let train = match &self.source {
            DatasetSource::ClassFolders { root, train, .. } => {
                ImageDataset::from_folders(root.join(train))?
            }
            DatasetSource::Cifar10 { root } => {
                ImageDataset::from_cifar(root, CifarKind::Cifar10, Split::Train)?
            }
            DatasetSource::Cifar100 { root } => {
                ImageDataset::from_cifar(root, CifarKind::Cifar100, Split::Train)?
            }
            DatasetSource::List { root, train, .. } => ImageDataset::from_list(train, root, None)?,
            DatasetSource::Synthetic(config) => config.generate(Split::Train)?,
        };
        let test = self.load_test(train.class_map())?;
        let train = match &self.long_tail {
            Some(rule) => train.long_tailed(rule, self.subset_seed)?,
            None => train,
        };
        let (train, validation) = match &self.validation {
            None => (train, None),
            Some(ValidationConfig::HeldOut { share, seed }) => {
                let (train, held_out) = train.hold_out(*share, *seed)?;
                (train, Some(held_out))
            }
            Some(ValidationConfig::ClassFolders { folder }) => {
                let set = ImageDataset::from_folders_with_classes(folder, train.class_map())?;
                (train, Some(set))
            }
            Some(ValidationConfig::List { root, list }) => {
                let set = ImageDataset::from_list(list, root, Some(train.class_map()))?;
                (train, Some(set))
            }
        };
        Ok(Datasets { train, validation, test })
    }

    /// The test images alone, with the classes of a training set or of a trained model.
    /// # Errors
    /// As [`load`](Self::load), and if an image is of another class.
    pub fn load_test(&self, classes: &ClassMap) -> Result<ImageDataset, TrainingError> {
        Ok(match &self.source {
            DatasetSource::ClassFolders { root, test, .. } => {
                ImageDataset::from_folders_with_classes(root.join(test), classes)?
            }
            DatasetSource::Cifar10 { root } => {
                ImageDataset::from_cifar(root, CifarKind::Cifar10, Split::Test)?
            }
            DatasetSource::Cifar100 { root } => {
                ImageDataset::from_cifar(root, CifarKind::Cifar100, Split::Test)?
            }
            DatasetSource::List { root, test, .. } => {
                ImageDataset::from_list(test, root, Some(classes))?
            }
            DatasetSource::Synthetic(config) => config.generate(Split::Test)?,
        })
    }

    /// The test set in words, for reports.
    pub(crate) fn describe_test(&self) -> String {
        match &self.source {
            DatasetSource::ClassFolders { root, test, .. } => {
                format!("images in {}", root.join(test).display())
            }
            DatasetSource::Cifar10 { .. } => "CIFAR-10 test set".into(),
            DatasetSource::Cifar100 { .. } => "CIFAR-100 test set".into(),
            DatasetSource::List { test, .. } => format!("images of {}", test.display()),
            DatasetSource::Synthetic(_) => "synthetic test set".into(),
        }
    }

    /// The validation images in words, for reports.
    pub(crate) fn describe_validation(&self) -> String {
        match &self.validation {
            None => "no validation images".into(),
            Some(ValidationConfig::HeldOut { share, .. }) => {
                format!("{} % held out of {}", percent(*share), self.describe_source())
            }
            Some(ValidationConfig::ClassFolders { folder }) => {
                format!("images in {}", folder.display())
            }
            Some(ValidationConfig::List { list, .. }) => format!("images of {}", list.display()),
        }
    }

    /// The training set in words, for reports.
    pub(crate) fn describe_train(&self) -> String {
        let source = self.describe_source();
        match self.validation {
            Some(ValidationConfig::HeldOut { share, .. }) => {
                format!("{source}, without {} % held out", percent(share))
            }
            _ => source,
        }
    }

    /// All training images in words, with the cut to a long tail.
    fn describe_source(&self) -> String {
        let source = match &self.source {
            DatasetSource::ClassFolders { root, train, .. } => {
                format!("images in {}", root.join(train).display())
            }
            DatasetSource::Cifar10 { .. } => "CIFAR-10 training set".into(),
            DatasetSource::Cifar100 { .. } => "CIFAR-100 training set".into(),
            DatasetSource::List { train, .. } => format!("images of {}", train.display()),
            DatasetSource::Synthetic(config) => {
                format!("synthetic training set, imbalance {}", config.imbalance)
            }
        };
        match &self.long_tail {
            None => source,
            Some(rule) => {
                let profile = match rule.profile {
                    LongTailProfile::Exponential => "exponential",
                    LongTailProfile::Step => "step",
                };
                format!("{source}, {profile} long tail, imbalance {}", rule.imbalance)
            }
        }
    }
}

/// Without the digits of rounding, such as those of 100 x 0.07.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// How two tables of classes differ; `None` if labels mean the same in both.
pub(crate) fn class_difference(first: &ClassMap, second: &ClassMap) -> Option<String> {
    if first.len() != second.len() {
        return Some(format!("{} classes and {}", first.len(), second.len()));
    }
    let class = |map: &ClassMap, label| {
        let (id, name) = (map.id(label).unwrap_or_default(), map.name(label).unwrap_or_default());
        format!("`{name}` with id {id}")
    };
    let pairs = (0..first.len()).map(|label| (class(first, label), class(second, label)));
    let difference = pairs.enumerate().find(|(_, (a, b))| a != b);
    difference.map(|(label, (a, b))| format!("class {label} is {a}, and {b}"))
}
