//! ResNets and ResNeXts for ImageNet-sized images, as in torchvision.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

use crate::backbone::global_average;
use crate::block::{BlockConfig, ResidualBlock};
use crate::conv::{Conv2d, Conv2dConfig};
use crate::conv_norm::{conv_norm_relu, fold};
use crate::error::ModelError;
use crate::norm::{Norm, NormConfig};
use crate::weight_init::WeightInit;

/// Configuration of [`ResNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResNetConfig {
    /// Blocks in each of the four stages.
    pub depths: [usize; 4],
    /// Bottleneck blocks instead of basic ones.
    pub is_bottleneck: bool,
    /// Channel groups of the 3x3 convolutions.
    pub groups: usize,
    /// Channels per group at 64 planes.
    pub width_per_group: usize,
    /// Channels of the stem and planes of the first stage; each later stage doubles them. 64 in the
    /// published networks.
    pub base_width: usize,
    /// What follows each convolution.
    pub norm: NormConfig,
}

impl ResNetConfig {
    /// A ResNet: groups 1, width 64, batch norm.
    pub fn new(depths: [usize; 4], is_bottleneck: bool) -> Self {
        let norm = NormConfig::batch();
        Self { depths, is_bottleneck, groups: 1, width_per_group: 64, base_width: 64, norm }
    }

    /// A ResNeXt with bottlenecks of `groups` groups.
    pub fn resnext(depths: [usize; 4], groups: usize, width_per_group: usize) -> Self {
        Self { groups, width_per_group, ..Self::new(depths, true) }
    }

    /// Sets the channels of the stem: 16 or 32 make a network for small images.
    #[must_use]
    pub fn with_base_width(mut self, base_width: usize) -> Self {
        self.base_width = base_width;
        self
    }

    /// Sets what follows each convolution.
    #[must_use]
    pub fn with_norm(mut self, norm: NormConfig) -> Self {
        self.norm = norm;
        self
    }

    /// Channels of the last stage: 512 or 2048.
    pub fn num_features(&self) -> usize {
        self.channels()[3]
    }

    /// Channels of `c2`, `c3`, `c4`, `c5`.
    pub fn channels(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|stage| self.stage(stage, 0).out_channels())
    }

    /// Whether the two have the same layers, whatever their width and norm.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let shape = |c: &Self| (c.depths, c.is_bottleneck, c.groups, c.width_per_group);
        shape(self) == shape(other)
    }

    /// Makes the network with torchvision's first weights.
    ///
    /// # Errors
    /// If the base width leaves a convolution without channels, or the norm does not fit the number
    /// of channels.
    pub fn init(&self, init: &WeightInit) -> Result<ResNet, ModelError> {
        if self.base_width == 0 || self.base_width * self.width_per_group < 64 {
            let (name, value) = ("base_width", self.base_width.to_string());
            let expected = "large enough for one channel per group (16 is enough for any network)";
            return Err(ModelError::InvalidValue { name, value, expected });
        }
        let stage = |stage: usize| -> Result<Vec<ResidualBlock>, ModelError> {
            let init = init.child(&format!("layer{}", stage + 1));
            let block = |i: usize| self.stage(stage, i).init(&init.child(&i.to_string()));
            (0..self.depths[stage]).map(block).collect()
        };
        let conv1 = Conv2dConfig::new(3, self.base_width, 7).with_stride(2).with_padding(3);
        Ok(ResNet {
            conv1: conv1.init(&init.child("conv1")),
            bn1: Some(self.norm.init(self.base_width, &init.child("bn1"))?),
            layer1: stage(0)?,
            layer2: stage(1)?,
            layer3: stage(2)?,
            layer4: stage(3)?,
            config: self.clone(),
        })
    }

    /// Block `index` of stage 0 to 3.
    fn stage(&self, stage: usize, index: usize) -> BlockConfig {
        let planes = self.base_width << stage;
        let expansion = if self.is_bottleneck { 4 } else { 1 };
        let in_channels = match (stage, index) {
            (0, 0) => self.base_width,
            (_, 0) => planes / 2 * expansion,
            _ => planes * expansion,
        };
        BlockConfig {
            in_channels,
            planes,
            stride: if stage > 0 && index == 0 { 2 } else { 1 },
            groups: self.groups,
            width_per_group: self.width_per_group,
            is_bottleneck: self.is_bottleneck,
            norm: self.norm.clone(),
        }
    }
}

/// Maps of the four stages, at strides 4, 8, 16 and 32.
#[derive(Clone, Debug)]
pub struct ResNetFeatures {
    /// `[batch, 64 or 256, height / 4, width / 4]`
    pub c2: Tensor<4>,
    /// `[batch, 128 or 512, height / 8, width / 8]`
    pub c3: Tensor<4>,
    /// `[batch, 256 or 1024, height / 16, width / 16]`
    pub c4: Tensor<4>,
    /// `[batch, 512 or 2048, height / 32, width / 32]`
    pub c5: Tensor<4>,
}

/// A deep residual network without its classifier. Parameter names are torchvision's.
///
/// Sources: He et al., <https://arxiv.org/abs/1512.03385>; Xie et al.,
/// <https://arxiv.org/abs/1611.05431>. Strides sit in the 3x3 convolutions, as in torchvision.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: Option<Norm>,
    layer1: Vec<ResidualBlock>,
    layer2: Vec<ResidualBlock>,
    layer3: Vec<ResidualBlock>,
    layer4: Vec<ResidualBlock>,
    #[module(skip)]
    config: ResNetConfig,
}

impl ResNet {
    /// What it was made from.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, num_features]`, `c5` averaged over its area
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        global_average(self.stages(images).c5)
    }

    /// Stops the training of the first `count` stages: 0 none, 1 the stem, 2 also `layer1`, up to 5,
    /// everything (a larger number is as good as 5). Their batch norms use the running statistics
    /// from then on. torchvision's `trainable_backbone_layers` is 5 minus this number.
    #[must_use]
    pub fn freeze_stages(mut self, count: usize) -> Self {
        if count > 0 {
            (self.conv1, self.bn1) = (self.conv1.freeze(), self.bn1.freeze());
        }
        let stages = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        for blocks in stages.into_iter().take(count.saturating_sub(1)) {
            *blocks = std::mem::take(blocks).freeze();
        }
        self
    }

    /// With fixed norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(mut self) -> Self {
        fold(&mut self.conv1, &mut self.bn1);
        let stages = [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4];
        stages.into_iter().flatten().for_each(ResidualBlock::fold);
        self
    }

    /// The 7x7 convolution and the max pooling: `[batch, 64, height / 4, width / 4]`.
    pub fn stem(&self, images: Tensor<4>) -> Tensor<4> {
        let x = conv_norm_relu(&self.conv1, &self.bn1, images);
        max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]))
    }

    /// The map of every stage, for a pyramid on top.
    pub fn stages(&self, images: Tensor<4>) -> ResNetFeatures {
        let run = |blocks: &[ResidualBlock], x| blocks.iter().fold(x, |x, block| block.forward(x));
        let c2 = run(&self.layer1, self.stem(images));
        let c3 = run(&self.layer2, c2.clone());
        let c4 = run(&self.layer3, c3.clone());
        let c5 = run(&self.layer4, c4.clone());
        ResNetFeatures { c2, c3, c4, c5 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::values;

    fn tiny() -> ResNetConfig {
        ResNetConfig::new([1, 1, 1, 1], false).with_base_width(8)
    }

    #[test]
    fn maps_have_the_widths_of_the_config() {
        let device = longtail_testing::device();
        for (config, channels) in [
            (tiny(), [8, 16, 32, 64]),
            (ResNetConfig::new([1, 1, 1, 1], true).with_base_width(4), [16, 32, 64, 128]),
            (ResNetConfig::resnext([1, 1, 1, 1], 2, 16).with_base_width(16), [64, 128, 256, 512]),
        ] {
            let network = config.init(&WeightInit::new(0, &device)).unwrap();
            let maps = network.stages(Tensor::zeros([1, 3, 65, 97], &device));
            let found = [maps.c2.dims(), maps.c3.dims(), maps.c4.dims(), maps.c5.dims()];
            assert_eq!(found.map(|dims| dims[1]), channels);
            assert_eq!(config.channels(), channels);
            assert_eq!(found.map(|dims| [dims[2], dims[3]]), [[17, 25], [9, 13], [5, 7], [3, 4]]);
        }
        let message = ResNetConfig::resnext([1; 4], 32, 4).with_base_width(8);
        let message = message.init(&WeightInit::new(0, &device)).unwrap_err().to_string();
        assert!(message.starts_with("base_width = 8, but it must be large enough"), "{message}");
    }

    #[test]
    fn frozen_stages_neither_train_nor_follow_the_batch() {
        let device = longtail_testing::device().autodiff();
        for count in 0..=5 {
            let network = tiny().init(&WeightInit::new(0, &device)).unwrap().freeze_stages(count);
            let noise = WeightInit::new(1, &device);
            let images = noise.param("images", [1, 3, 33, 33], crate::Fill::Uniform { limit: 1.0 });
            let gradients = network.forward(images.val()).sum().backward();
            let trains = |conv: &Conv2d| conv.weight.val().grad(&gradients).is_some();
            let follows = |norm: &Option<Norm>| match norm {
                Some(Norm::Batch(norm)) => {
                    values(norm.running_mean.value()).iter().any(|&v| v != 0.0)
                }
                _ => false,
            };
            let mut found = vec![(trains(&network.conv1), follows(&network.bn1))];
            for blocks in [&network.layer1, &network.layer2, &network.layer3, &network.layer4] {
                let ResidualBlock::Basic(block) = &blocks[0] else { panic!("basic") };
                found.push((trains(&block.conv1), follows(&block.bn2)));
            }
            let expected: Vec<_> = (0..5).map(|stage| (stage >= count, stage >= count)).collect();
            assert_eq!(found, expected, "{count} frozen");
        }
    }
}
