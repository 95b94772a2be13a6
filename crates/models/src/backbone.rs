//! Feature extractors by name.

use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_kernels::to_single;
use serde::{Deserialize, Serialize};

use crate::cifar_resnet::{CifarResNet, CifarResNetConfig};
use crate::error::ModelError;
use crate::resnet::{ResNet, ResNetConfig};
use crate::weight_init::WeightInit;

/// Which network turns images into features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneConfig {
    /// torchvision `resnet18`
    #[serde(rename = "resnet18")]
    ResNet18,
    /// torchvision `resnet34`
    #[serde(rename = "resnet34")]
    ResNet34,
    /// torchvision `resnet50`
    #[serde(rename = "resnet50")]
    ResNet50,
    /// torchvision `resnet101`
    #[serde(rename = "resnet101")]
    ResNet101,
    /// torchvision `resnet152`
    #[serde(rename = "resnet152")]
    ResNet152,
    /// torchvision `resnext50_32x4d`
    #[serde(rename = "resnext50-32x4d")]
    ResNeXt50,
    /// torchvision `resnext101_32x8d`
    #[serde(rename = "resnext101-32x8d")]
    ResNeXt101,
    /// ResNet-20 for CIFAR
    #[serde(rename = "cifar-resnet20")]
    CifarResNet20,
    /// ResNet-32 for CIFAR
    #[serde(rename = "cifar-resnet32")]
    CifarResNet32,
    /// ResNet-44 for CIFAR
    #[serde(rename = "cifar-resnet44")]
    CifarResNet44,
    /// ResNet-56 for CIFAR
    #[serde(rename = "cifar-resnet56")]
    CifarResNet56,
}

/// What a [`BackboneConfig`] stands for.
enum Architecture {
    ResNet(ResNetConfig),
    Cifar(CifarResNetConfig),
}

impl BackboneConfig {
    /// Every backbone there is.
    pub const ALL: [Self; 11] = [
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
        Self::ResNet152,
        Self::ResNeXt50,
        Self::ResNeXt101,
        Self::CifarResNet20,
        Self::CifarResNet32,
        Self::CifarResNet44,
        Self::CifarResNet56,
    ];

    /// The name used in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
            Self::ResNet152 => "resnet152",
            Self::ResNeXt50 => "resnext50-32x4d",
            Self::ResNeXt101 => "resnext101-32x8d",
            Self::CifarResNet20 => "cifar-resnet20",
            Self::CifarResNet32 => "cifar-resnet32",
            Self::CifarResNet44 => "cifar-resnet44",
            Self::CifarResNet56 => "cifar-resnet56",
        }
    }

    /// Width of the pooled features.
    pub fn num_features(self) -> usize {
        match self.architecture() {
            Architecture::ResNet(config) => config.num_features(),
            Architecture::Cifar(_) => CifarResNetConfig::NUM_FEATURES,
        }
    }

    /// Makes the network with its first weights.
    ///
    /// # Errors
    /// Never for the networks there are now.
    pub fn init(self, init: &WeightInit) -> Result<Backbone, ModelError> {
        Ok(match self.architecture() {
            Architecture::ResNet(config) => Backbone::ResNet(config.init(init)?),
            Architecture::Cifar(config) => Backbone::Cifar(config.init(init)),
        })
    }

    /// The network with maps at four strides, which a pyramid needs; `None` for those of CIFAR.
    pub fn resnet(self) -> Option<ResNetConfig> {
        match self.architecture() {
            Architecture::ResNet(config) => Some(config),
            Architecture::Cifar(_) => None,
        }
    }

    /// Name of the architecture of a ResNet, whatever its width and norm; "resnet" for one that has
    /// no name.
    pub fn name_of(resnet: &ResNetConfig) -> &'static str {
        let is_this = |config: &Self| config.resnet().is_some_and(|config| config.is_like(resnet));
        Self::ALL.into_iter().find(is_this).map_or("resnet", Self::name)
    }

    fn architecture(self) -> Architecture {
        let resnet =
            |depths, is_bottleneck| Architecture::ResNet(ResNetConfig::new(depths, is_bottleneck));
        let resnext = |depths, groups, width| {
            Architecture::ResNet(ResNetConfig::resnext(depths, groups, width))
        };
        let cifar = |blocks| Architecture::Cifar(CifarResNetConfig::new(blocks));
        match self {
            Self::ResNet18 => resnet([2, 2, 2, 2], false),
            Self::ResNet34 => resnet([3, 4, 6, 3], false),
            Self::ResNet50 => resnet([3, 4, 6, 3], true),
            Self::ResNet101 => resnet([3, 4, 23, 3], true),
            Self::ResNet152 => resnet([3, 8, 36, 3], true),
            Self::ResNeXt50 => resnext([3, 4, 6, 3], 32, 4),
            Self::ResNeXt101 => resnext([3, 4, 23, 3], 32, 8),
            Self::CifarResNet20 => cifar(3),
            Self::CifarResNet32 => cifar(5),
            Self::CifarResNet44 => cifar(7),
            Self::CifarResNet56 => cifar(9),
        }
    }
}

impl fmt::Display for BackboneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackboneConfig {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let found = Self::ALL.into_iter().find(|config| config.name() == name);
        found.ok_or_else(|| ModelError::UnknownBackbone { name: name.to_owned() })
    }
}

/// A feature extractor.
#[allow(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Module, Debug)]
pub enum Backbone {
    /// For ImageNet-sized images.
    ResNet(ResNet),
    /// For CIFAR-sized images.
    Cifar(CifarResNet),
}

impl Backbone {
    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, num_features]`, averaged over the image
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        global_average(self.maps(images))
    }

    /// What is averaged in the end.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`, in single or half precision
    /// - output: `[batch, num_features, map_height, map_width]`, in single precision
    pub fn maps(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::ResNet(network) => to_single(network.stages(images).c5),
            Self::Cifar(network) => to_single(network.maps(images)),
        }
    }

    /// With fixed norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(self) -> Self {
        match self {
            Self::ResNet(network) => Self::ResNet(network.for_inference()),
            Self::Cifar(network) => Self::Cifar(network.for_inference()),
        }
    }

    /// Width of the features.
    pub fn num_features(&self) -> usize {
        match self {
            Self::ResNet(network) => network.config().num_features(),
            Self::Cifar(_) => CifarResNetConfig::NUM_FEATURES,
        }
    }

    /// Name of the architecture; "resnet" or "cifar-resnet" for one that has no [`BackboneConfig`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::ResNet(network) => BackboneConfig::name_of(network.config()),
            Self::Cifar(network) => {
                let is_this = |config: &BackboneConfig| match config.architecture() {
                    Architecture::Cifar(config) => {
                        network.blocks_per_stage() == config.blocks_per_stage
                    }
                    Architecture::ResNet(_) => false,
                };
                let found = BackboneConfig::ALL.into_iter().find(is_this);
                found.map_or("cifar-resnet", BackboneConfig::name)
            }
        }
    }
}

/// Mean over the area: `[batch, channels, height, width]` to `[batch, channels]`.
pub(crate) fn global_average(x: Tensor<4>) -> Tensor<2> {
    let [batch_size, channels, height, width] = x.dims();
    x.reshape([batch_size, channels, height * width]).mean_dim(2).reshape([batch_size, channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_match_serde() {
        for config in BackboneConfig::ALL {
            assert_eq!(config.name().parse::<BackboneConfig>().unwrap(), config);
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(json, format!("\"{config}\""));
        }
        let message = "resnet19".parse::<BackboneConfig>().unwrap_err().to_string();
        assert!(
            message.contains("\"resnet19\"") && message.contains("resnext101-32x8d"),
            "{message}"
        );
    }
}
