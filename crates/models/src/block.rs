//! Residual blocks of the ImageNet ResNets.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_kernels::{add_relu, relu};

use crate::conv::{Conv2d, Conv2dConfig};
use crate::error::ModelError;
use crate::norm::{Norm, NormConfig};
use crate::weight_init::WeightInit;

/// Shape of one residual block.
#[derive(Clone, Debug)]
pub struct BlockConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the stage before expansion: 64, 128, 256, 512.
    pub planes: usize,
    /// Stride of the 3x3 convolution that halves the map (the first one in a basic block, the
    /// second one in a bottleneck, as in torchvision's "v1.5").
    pub stride: usize,
    /// Channel groups of the bottleneck's 3x3 convolution: 32 in ResNeXt.
    pub groups: usize,
    /// Channels per group at 64 planes: 64 in ResNet, 4 in ResNeXt-50 32x4d.
    pub width_per_group: usize,
    /// Three convolutions (1x1, 3x3, 1x1) instead of two.
    pub is_bottleneck: bool,
    /// What follows each convolution.
    pub norm: NormConfig,
}

impl BlockConfig {
    /// Channels of the output.
    pub fn out_channels(&self) -> usize {
        if self.is_bottleneck { self.planes * 4 } else { self.planes }
    }

    /// Makes the block.
    ///
    /// # Errors
    /// If the norm does not fit the number of channels.
    pub fn init(&self, init: &WeightInit) -> Result<ResidualBlock, ModelError> {
        Ok(if self.is_bottleneck {
            ResidualBlock::Bottleneck(self.bottleneck(init)?)
        } else {
            ResidualBlock::Basic(self.basic(init)?)
        })
    }

    fn basic(&self, init: &WeightInit) -> Result<BasicBlock, ModelError> {
        let conv1 = Conv2dConfig::new(self.in_channels, self.planes, 3).with_stride(self.stride);
        let conv2 = Conv2dConfig::new(self.planes, self.planes, 3);
        Ok(BasicBlock {
            conv1: conv1.with_padding(1).init(&init.child("conv1")),
            bn1: self.norm.init(self.planes, &init.child("bn1"))?,
            conv2: conv2.with_padding(1).init(&init.child("conv2")),
            bn2: self.norm.init(self.planes, &init.child("bn2"))?,
            downsample: self.downsample(init)?,
        })
    }

    fn bottleneck(&self, init: &WeightInit) -> Result<Bottleneck, ModelError> {
        let width = self.planes * self.width_per_group / 64 * self.groups;
        let conv2 = Conv2dConfig::new(width, width, 3).with_stride(self.stride).with_padding(1);
        let out_channels = self.out_channels();
        Ok(Bottleneck {
            conv1: Conv2dConfig::new(self.in_channels, width, 1).init(&init.child("conv1")),
            bn1: self.norm.init(width, &init.child("bn1"))?,
            conv2: conv2.with_groups(self.groups).init(&init.child("conv2")),
            bn2: self.norm.init(width, &init.child("bn2"))?,
            conv3: Conv2dConfig::new(width, out_channels, 1).init(&init.child("conv3")),
            bn3: self.norm.init(out_channels, &init.child("bn3"))?,
            downsample: self.downsample(init)?,
        })
    }

    fn downsample(&self, init: &WeightInit) -> Result<Option<(Conv2d, Norm)>, ModelError> {
        if self.stride == 1 && self.in_channels == self.out_channels() {
            return Ok(None);
        }
        let conv = Conv2dConfig::new(self.in_channels, self.out_channels(), 1);
        let conv = conv.with_stride(self.stride);
        let init = init.child("downsample");
        let norm = self.norm.init(self.out_channels(), &init.child("1"))?;
        Ok(Some((conv.init(&init.child("0")), norm)))
    }
}

/// A block of either kind.
#[allow(clippy::large_enum_variant, reason = "all blocks of a network are of one kind")]
#[derive(Module, Debug)]
pub enum ResidualBlock {
    /// ResNet-18 and 34.
    Basic(BasicBlock),
    /// ResNet-50 and deeper, ResNeXt.
    Bottleneck(Bottleneck),
}

impl ResidualBlock {
    /// # Shapes
    /// - x: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, ceil(height / stride), ceil(width / stride)]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Basic(block) => block.forward(x),
            Self::Bottleneck(block) => block.forward(x),
        }
    }
}

/// Two 3x3 convolutions and a shortcut.
#[derive(Module, Debug)]
pub struct BasicBlock {
    pub(crate) conv1: Conv2d,
    bn1: Norm,
    conv2: Conv2d,
    pub(crate) bn2: Norm,
    downsample: Option<(Conv2d, Norm)>,
}

impl BasicBlock {
    /// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let y = self.bn2.forward(self.conv2.forward(y));
        add_relu(y, shortcut(&self.downsample, x))
    }
}

/// A 1x1 convolution down, a 3x3 one, a 1x1 one up, and a shortcut.
#[derive(Module, Debug)]
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: Norm,
    conv2: Conv2d,
    bn2: Norm,
    conv3: Conv2d,
    bn3: Norm,
    downsample: Option<(Conv2d, Norm)>,
}

impl Bottleneck {
    /// `relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let y = relu(self.bn2.forward(self.conv2.forward(y)));
        let y = self.bn3.forward(self.conv3.forward(y));
        add_relu(y, shortcut(&self.downsample, x))
    }
}

fn shortcut(downsample: &Option<(Conv2d, Norm)>, x: Tensor<4>) -> Tensor<4> {
    match downsample {
        Some((conv, norm)) => norm.forward(conv.forward(x)),
        None => x,
    }
}
