//! Pipelines that a recipe can name.

use serde::{Deserialize, Serialize};

use super::auto_augment::black;
use super::{
    AutoAugment, AutoAugmentPolicy, CenterCrop, ColorJitter, Cutout, Fill, HorizontalFlip,
    Normalize, Pipeline, RandomCrop, RandomResizedCrop, ResizeShorter, Transform,
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
    /// `cifar` with black padding, then AutoAugment's CIFAR-10 policy and Cutout of 16, as in
    /// the released code of Balanced Softmax.
    CifarAutoAugment,
    /// 224 x 224: random resized crop and flip; test: shorter side to 256, middle 224.
    Imagenet,
    /// `imagenet` with colour jitter of 0.4, as usual for ImageNet-LT and Places-LT.
    ImagenetColorJitter,
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
            Self::CifarAutoAugment => vec![
                Transform::RandomCrop(RandomCrop { size: 32, padding: 4, fill: black() }),
                flip,
                Transform::AutoAugment(AutoAugment {
                    policy: AutoAugmentPolicy::Cifar10,
                    fill: black(),
                }),
                Transform::Cutout(Cutout { size: 16, holes: 1, fill: Fill::Mean }),
            ],
            Self::Imagenet => {
                vec![Transform::RandomResizedCrop(RandomResizedCrop::new(224)), flip]
            }
            Self::ImagenetColorJitter => vec![
                Transform::RandomResizedCrop(RandomResizedCrop::new(224)),
                flip,
                Transform::ColorJitter(ColorJitter {
                    brightness: 0.4,
                    contrast: 0.4,
                    saturation: 0.4,
                    hue: 0.0,
                }),
            ],
        }
    }

    /// Transforms of test images.
    pub fn test_transforms(self) -> Vec<Transform> {
        match self {
            Self::Cifar | Self::CifarAutoAugment => Vec::new(),
            Self::Imagenet | Self::ImagenetColorJitter => vec![
                Transform::ResizeShorter(ResizeShorter { size: 256 }),
                Transform::CenterCrop(CenterCrop { size: 224 }),
            ],
        }
    }

    /// Normalisation of both.
    pub fn normalize(self) -> Normalize {
        match self {
            Self::Cifar | Self::CifarAutoAugment => Normalize::CIFAR,
            Self::Imagenet | Self::ImagenetColorJitter => Normalize::IMAGENET,
        }
    }
}

/// What a recipe says about transforms: a preset, any part of which can be replaced.
///
/// `{ preset = "cifar" }`, or `{ preset = "cifar", train = [{ op = "horizontal-flip" }] }`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
