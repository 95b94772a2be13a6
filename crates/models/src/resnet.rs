//! ResNets and ResNeXts for ImageNet-sized images, as in torchvision.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use longtail_kernels::relu;

use crate::backbone::global_average;
use crate::batch_norm::{BatchNorm2d, BatchNorm2dConfig};
use crate::block::{BlockConfig, ResidualBlock};
use crate::conv::{Conv2d, Conv2dConfig};
use crate::weight_init::WeightInit;

/// Configuration of [`ResNet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Blocks in each of the four stages.
    pub depths: [usize; 4],
    /// Bottleneck blocks instead of basic ones.
    pub is_bottleneck: bool,
    /// Channel groups of the 3x3 convolutions.
    pub groups: usize,
    /// Channels per group at 64 planes.
    pub width_per_group: usize,
}

impl ResNetConfig {
    /// A ResNet: groups 1, width 64.
    pub fn new(depths: [usize; 4], is_bottleneck: bool) -> Self {
        Self { depths, is_bottleneck, groups: 1, width_per_group: 64 }
    }

    /// A ResNeXt with bottlenecks of `groups` groups.
    pub fn resnext(depths: [usize; 4], groups: usize, width_per_group: usize) -> Self {
        Self { groups, width_per_group, ..Self::new(depths, true) }
    }

    /// Channels of the last stage: 512 or 2048.
    pub fn num_features(&self) -> usize {
        self.stage(3, 0).out_channels()
    }

    /// Makes the network with torchvision's first weights.
    pub fn init(&self, init: &WeightInit) -> ResNet {
        let stage = |stage: usize| -> Vec<ResidualBlock> {
            let init = init.child(&format!("layer{}", stage + 1));
            let block = |i: usize| self.stage(stage, i).init(&init.child(&i.to_string()));
            (0..self.depths[stage]).map(block).collect()
        };
        let conv1 = Conv2dConfig::new(3, 64, 7).with_stride(2).with_padding(3);
        ResNet {
            conv1: conv1.init(&init.child("conv1")),
            bn1: BatchNorm2dConfig::new(64).init(&init.child("bn1")),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            config: self.clone(),
        }
    }

    /// Block `index` of stage 0 to 3.
    fn stage(&self, stage: usize, index: usize) -> BlockConfig {
        let planes = 64 << stage;
        let expansion = if self.is_bottleneck { 4 } else { 1 };
        let in_channels = match (stage, index) {
            (0, 0) => 64,
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
    bn1: BatchNorm2d,
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

    /// The 7x7 convolution and the max pooling: `[batch, 64, height / 4, width / 4]`.
    pub fn stem(&self, images: Tensor<4>) -> Tensor<4> {
        let x = relu(self.bn1.forward(self.conv1.forward(images)));
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
