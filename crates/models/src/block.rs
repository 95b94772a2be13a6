//! Residual blocks of the ImageNet ResNets.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::conv::{Conv2d, Conv2dConfig};
use crate::conv_norm::{conv_norm, conv_norm_add_relu, conv_norm_relu, fold, folded};
use crate::error::ModelError;
use crate::norm::{Norm, NormConfig};
use crate::weight_init::WeightInit;

/// A convolution and its norm, until that is folded away.
type ConvNorm = (Conv2d, Option<Norm>);

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
            bn1: Some(self.norm.init(self.planes, &init.child("bn1"))?),
            conv2: conv2.with_padding(1).init(&init.child("conv2")),
            bn2: Some(self.norm.init(self.planes, &init.child("bn2"))?),
            downsample: self.downsample(init)?,
        })
    }

    fn bottleneck(&self, init: &WeightInit) -> Result<Bottleneck, ModelError> {
        let width = self.planes * self.width_per_group / 64 * self.groups;
        let conv2 = Conv2dConfig::new(width, width, 3).with_stride(self.stride).with_padding(1);
        let out_channels = self.out_channels();
        Ok(Bottleneck {
            conv1: Conv2dConfig::new(self.in_channels, width, 1).init(&init.child("conv1")),
            bn1: Some(self.norm.init(width, &init.child("bn1"))?),
            conv2: conv2.with_groups(self.groups).init(&init.child("conv2")),
            bn2: Some(self.norm.init(width, &init.child("bn2"))?),
            conv3: Conv2dConfig::new(width, out_channels, 1).init(&init.child("conv3")),
            bn3: Some(self.norm.init(out_channels, &init.child("bn3"))?),
            downsample: self.downsample(init)?,
        })
    }

    fn downsample(&self, init: &WeightInit) -> Result<Option<ConvNorm>, ModelError> {
        if self.stride == 1 && self.in_channels == self.out_channels() {
            return Ok(None);
        }
        let conv = Conv2dConfig::new(self.in_channels, self.out_channels(), 1);
        let conv = conv.with_stride(self.stride);
        let init = init.child("downsample");
        let norm = self.norm.init(self.out_channels(), &init.child("1"))?;
        Ok(Some((conv.init(&init.child("0")), Some(norm))))
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

    /// With fixed norms folded into the convolutions.
    pub(crate) fn fold(&mut self) {
        match self {
            Self::Basic(block) => {
                fold(&mut block.conv1, &mut block.bn1);
                fold(&mut block.conv2, &mut block.bn2);
                block.downsample = block.downsample.as_ref().map(folded);
            }
            Self::Bottleneck(block) => {
                fold(&mut block.conv1, &mut block.bn1);
                fold(&mut block.conv2, &mut block.bn2);
                fold(&mut block.conv3, &mut block.bn3);
                block.downsample = block.downsample.as_ref().map(folded);
            }
        }
    }
}

/// Two 3x3 convolutions and a shortcut.
#[derive(Module, Debug)]
pub struct BasicBlock {
    pub(crate) conv1: Conv2d,
    bn1: Option<Norm>,
    conv2: Conv2d,
    pub(crate) bn2: Option<Norm>,
    downsample: Option<ConvNorm>,
}

impl BasicBlock {
    /// `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = conv_norm_relu(&self.conv1, &self.bn1, x.clone());
        conv_norm_add_relu(&self.conv2, &self.bn2, y, shortcut(&self.downsample, x))
    }
}

/// A 1x1 convolution down, a 3x3 one, a 1x1 one up, and a shortcut.
#[derive(Module, Debug)]
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: Option<Norm>,
    conv2: Conv2d,
    bn2: Option<Norm>,
    conv3: Conv2d,
    bn3: Option<Norm>,
    downsample: Option<ConvNorm>,
}

impl Bottleneck {
    /// `relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = conv_norm_relu(&self.conv1, &self.bn1, x.clone());
        let y = conv_norm_relu(&self.conv2, &self.bn2, y);
        conv_norm_add_relu(&self.conv3, &self.bn3, y, shortcut(&self.downsample, x))
    }
}

fn shortcut(downsample: &Option<ConvNorm>, x: Tensor<4>) -> Tensor<4> {
    match downsample {
        Some((conv, norm)) => conv_norm(conv, norm, x),
        None => x,
    }
}
