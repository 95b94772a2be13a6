//! The data set of a recipe.

use std::path::PathBuf;

use longtail_data::{ImageDataset, LongTail, LongTailProfile};
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
    /// Images to measure with.
    pub test: ImageDataset,
}

impl DatasetConfig {
    /// Lists (or generates) the images. Files are not opened yet.
    /// # Errors
    /// If a folder or file is missing or not as expected.
    pub fn load(&self) -> Result<Datasets, TrainingError> {
        let (train, test) = match &self.source {
            DatasetSource::ClassFolders { root, train, test } => {
                let train = ImageDataset::from_folders(root.join(train))?;
                let test =
                    ImageDataset::from_folders_with_classes(root.join(test), train.class_map())?;
                (train, test)
            }
        };
        let train = match &self.long_tail {
            Some(rule) => train.long_tailed(rule, self.subset_seed)?,
            None => train,
        };
        Ok(Datasets { train, test })
    }

    /// Lists (or generates) the test images alone, with the classes of a trained model.
    /// # Errors
    /// As [`load`](Self::load), and if an image is of another class.
    pub fn load_test(&self, classes: &ClassMap) -> Result<ImageDataset, TrainingError> {
        Ok(match &self.source {
            DatasetSource::ClassFolders { root, test, .. } => {
                ImageDataset::from_folders_with_classes(root.join(test), classes)?
            }
        })
    }

    /// The test set in words, for reports.
    pub(crate) fn describe_test(&self) -> String {
        match &self.source {
            DatasetSource::ClassFolders { root, test, .. } => {
                format!("images in {}", root.join(test).display())
            }
        }
    }

    /// The training set in words, for reports.
    pub(crate) fn describe_train(&self) -> String {
        let source = match &self.source {
            DatasetSource::ClassFolders { root, train, .. } => {
                format!("images in {}", root.join(train).display())
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
