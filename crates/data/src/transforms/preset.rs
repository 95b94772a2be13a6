//! Pipelines that a recipe can name.

use serde::{Deserialize, Serialize};

use super::{
    CenterCrop, Fill, HorizontalFlip, Normalize, Pipeline, RandomCrop, RandomResizedCrop,
    ResizeShorter, Transform,
};
use crate::DataError;

/// A usual pair of pipelines, for training and for testing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// 32 x 32: crop from 4 pixels of padding in the mean colour, and flip; test images as they
    /// are.
    #[default]
    Cifar,
    /// 224 x 224: random resized crop and flip; test: shorter side to 256, middle 224.
    Imagenet,
}

impl Preset {
    /// Transforms of training images.
    pub fn train_transforms(self) -> Vec<Transform> {
        let flip = Transform::HorizontalFlip(HorizontalFlip::default());
        match self {
            Self::Cifar => vec![
                Transform::RandomCrop(RandomCrop { size: 32, padding: 4, fill: Fill::Mean }),
                flip,
            ],
            Self::Imagenet => {
                vec![Transform::RandomResizedCrop(RandomResizedCrop::new(224)), flip]
            }
        }
    }

    /// Transforms of test images.
    pub fn test_transforms(self) -> Vec<Transform> {
        match self {
            Self::Cifar => Vec::new(),
            Self::Imagenet => vec![
                Transform::ResizeShorter(ResizeShorter { size: 256 }),
                Transform::CenterCrop(CenterCrop { size: 224 }),
            ],
        }
    }

    /// Normalisation of both.
    pub fn normalize(self) -> Normalize {
        match self {
            Self::Cifar => Normalize::CIFAR,
            Self::Imagenet => Normalize::IMAGENET,
        }
    }
}

/// What a recipe says about transforms: a preset, any part of which can be replaced.
///
/// `{ preset = "cifar" }`, or `{ preset = "cifar", train = [{ op = "horizontal-flip" }] }`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PipelineConfig {
    /// Where to start from. Default: `cifar`.
    pub preset: Preset,
    /// Transforms of training images instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Vec<Transform>>,
    /// Transforms of test images instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<Transform>>,
    /// Normalisation instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
}

impl PipelineConfig {
    /// The pipeline of training images.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn train_pipeline(&self) -> Result<Pipeline, DataError> {
        let transforms = self.train.clone().unwrap_or_else(|| self.preset.train_transforms());
        Pipeline::new(transforms, self.normalize.unwrap_or_else(|| self.preset.normalize()))
    }

    /// The pipeline of test images.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn test_pipeline(&self) -> Result<Pipeline, DataError> {
        let transforms = self.test.clone().unwrap_or_else(|| self.preset.test_transforms());
        Pipeline::new(transforms, self.normalize.unwrap_or_else(|| self.preset.normalize()))
    }
}
