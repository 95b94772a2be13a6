//! A ResNet under a feature pyramid: the lower half of every detector.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::error::ModelError;
use crate::fpn::{Fpn, FpnConfig, PyramidLevels};
use crate::norm::NormConfig;
use crate::resnet::ResNet;
use crate::weight_init::WeightInit;

/// The ResNet of a detector. The defaults are those of torchvision's detectors that start from
/// ImageNet weights; from scratch, choose a norm that trains and freeze nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorBackboneConfig {
    /// A ResNet or ResNeXt. Default: `resnet50`.
    pub architecture: BackboneConfig,
    /// What follows each convolution. Default: frozen batch norm.
    pub norm: NormConfig,
    /// Channels of the stem. Default: 64. ImageNet weights fit 64 alone.
    pub base_width: usize,
    /// Stages that do not train: 0 none, 1 the stem, 2 also `layer1`, up to 5. Default: 2.
    pub frozen_stages: usize,
}

impl Default for DetectorBackboneConfig {
    fn default() -> Self {
        let (architecture, norm) = (BackboneConfig::ResNet50, NormConfig::frozen());
        Self { architecture, norm, base_width: 64, frozen_stages: 2 }
    }
}

impl DetectorBackboneConfig {
    /// A network that trains whole, with batch norm: to start from random weights.
    pub fn from_scratch(architecture: BackboneConfig) -> Self {
        Self { architecture, norm: NormConfig::batch(), base_width: 64, frozen_stages: 0 }
    }

    /// Makes the ResNet and the pyramid on it; `levels` holds where `fpn` names none.
    ///
    /// # Errors
    /// If the architecture has no four stages, there are more frozen stages than stages, or a width
    /// or norm does not fit.
    pub fn init(
        &self,
        fpn: &FpnConfig,
        levels: PyramidLevels,
        init: &WeightInit,
    ) -> Result<ResNetFpn, ModelError> {
        let invalid =
            |name, value: String, expected| ModelError::InvalidValue { name, value, expected };
        if self.frozen_stages > 5 {
            let value = self.frozen_stages.to_string();
            return Err(invalid("backbone.frozen_stages", value, "from 0 to 5"));
        }
        let Some(resnet) = self.architecture.resnet() else {
            let value = self.architecture.to_string();
            let expected = "a ResNet or ResNeXt with maps at four strides";
            return Err(invalid("backbone.architecture", value, expected));
        };
        let resnet = resnet.with_base_width(self.base_width).with_norm(self.norm.clone());
        let body = resnet.init(&init.child("body"))?.freeze_stages(self.frozen_stages);
        let fpn = fpn.init(resnet.channels(), levels, &init.child("fpn"))?;
        Ok(ResNetFpn { body, fpn })
    }
}

/// torchvision's `BackboneWithFPN`, with its parameter names.
#[derive(Module, Debug)]
pub struct ResNetFpn {
    /// Images to maps at strides 4 to 32.
    pub body: ResNet,
    /// Maps to levels of one width.
    pub fpn: Fpn,
}

impl ResNetFpn {
    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, channels, height_n, width_n]` of each level, the finest first
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.fpn.forward(self.body.stages(images))
    }

    /// For inference alone: with fixed norms folded into the convolutions.
    #[must_use]
    pub fn for_inference(self) -> Self {
        Self { body: self.body.for_inference(), fpn: self.fpn.for_inference() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: DetectorBackboneConfig) -> String {
        let device = longtail_testing::device();
        let init = WeightInit::new(0, &device);
        let made = config.init(&FpnConfig::default(), PyramidLevels::P2ToP6, &init);
        made.unwrap_err().to_string()
    }

    #[test]
    fn impossible_backbones_are_refused() {
        let config = DetectorBackboneConfig::from_scratch(BackboneConfig::CifarResNet20);
        let message = refused(config);
        assert!(
            message.starts_with("backbone.architecture = cifar-resnet20, but it must be a ResNet"),
            "{message}"
        );
        let config = DetectorBackboneConfig { frozen_stages: 6, ..Default::default() };
        let expected = "backbone.frozen_stages = 6, but it must be from 0 to 5";
        assert_eq!(refused(config), expected);
        let norm = NormConfig::group(32);
        let config = DetectorBackboneConfig { norm, base_width: 16, ..Default::default() };
        assert!(refused(config).starts_with("norm.groups = 32 for 16 channels"));
    }

    #[test]
    fn a_table_may_set_one_key() {
        let config: DetectorBackboneConfig =
            serde_json::from_str(r#"{"architecture": "resnet18", "norm": {"kind": "batch"}}"#)
                .unwrap();
        assert_eq!(config.frozen_stages, 2);
        assert_eq!(
            (config.architecture, config.norm),
            (BackboneConfig::ResNet18, NormConfig::batch())
        );
        assert!(serde_json::from_str::<DetectorBackboneConfig>(r#"{"freeze": 1}"#).is_err());
    }
}
