//! The small ResNets of CIFAR, with padded shortcuts.

use burn::module::Module;
use burn::tensor::{Tensor, s};

use crate::backbone::global_average;
use crate::batch_norm::BatchNorm2dConfig;
use crate::conv::{Conv2d, Conv2dConfig, ConvInit};
use crate::conv_norm::{conv_norm_add_relu, conv_norm_relu, fold};
use crate::norm::Norm;
use crate::weight_init::WeightInit;

/// Configuration of [`CifarResNet`].
#[derive(Clone, Debug)]
pub struct CifarResNetConfig {
    /// Blocks in each of the three stages: `(depth - 2) / 6`.
    pub blocks_per_stage: usize,
    /// First weights of the convolutions. Default: PyTorch's own.
    pub init: ConvInit,
}

impl CifarResNetConfig {
    /// Channels of the pooled features.
    pub const NUM_FEATURES: usize = 64;

    /// `blocks_per_stage` is 3 for ResNet-20, 5 for 32, 7 for 44, 9 for 56.
    pub fn new(blocks_per_stage: usize) -> Self {
        Self { blocks_per_stage, init: ConvInit::PyTorchDefault }
    }

    /// Makes the network.
    pub fn init(&self, init: &WeightInit) -> CifarResNet {
        let stage = |stage: usize| -> Vec<CifarBlock> {
            let init = init.child(&format!("layer{}", stage + 1));
            let channels = 16 << stage;
            let block = |i: usize| {
                let narrow = stage > 0 && i == 0;
                let in_channels = if narrow { channels / 2 } else { channels };
                self.block(in_channels, channels, &init.child(&i.to_string()))
            };
            (0..self.blocks_per_stage).map(block).collect()
        };
        CifarResNet {
            conv1: self.conv(3, 16, 1).init(&init.child("conv1")),
            bn1: Some(Norm::Batch(BatchNorm2dConfig::new(16).init(&init.child("bn1")))),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
        }
    }

    fn block(&self, in_channels: usize, channels: usize, init: &WeightInit) -> CifarBlock {
        let stride = if in_channels == channels { 1 } else { 2 };
        let norm = BatchNorm2dConfig::new(channels);
        CifarBlock {
            conv1: self.conv(in_channels, channels, stride).init(&init.child("conv1")),
            bn1: Some(Norm::Batch(norm.init(&init.child("bn1")))),
            conv2: self.conv(channels, channels, 1).init(&init.child("conv2")),
            bn2: Some(Norm::Batch(norm.init(&init.child("bn2")))),
            stride,
            added_channels: channels - in_channels,
        }
    }

    fn conv(&self, in_channels: usize, channels: usize, stride: usize) -> Conv2dConfig {
        let conv = Conv2dConfig::new(in_channels, channels, 3).with_stride(stride);
        conv.with_padding(1).with_init(self.init)
    }
}

/// ResNet-20, 32, 44 or 56 for 32x32 images, without its classifier.
///
/// Source: He et al., section 4.2, <https://arxiv.org/abs/1512.03385>. Shortcuts have no parameters
/// (option A). Parameter names are those of the usual PyTorch versions: `layer1.0.conv1.weight`.
#[derive(Module, Debug)]
pub struct CifarResNet {
    conv1: Conv2d,
    bn1: Option<Norm>,
    layer1: Vec<CifarBlock>,
    layer2: Vec<CifarBlock>,
    layer3: Vec<CifarBlock>,
}

impl CifarResNet {
    /// Blocks in each of the three stages.
    pub fn blocks_per_stage(&self) -> usize {
        self.layer1.len()
    }

    /// With the norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(mut self) -> Self {
        fold(&mut self.conv1, &mut self.bn1);
        let stages = [&mut self.layer1, &mut self.layer2, &mut self.layer3];
        for block in stages.into_iter().flatten() {
            fold(&mut block.conv1, &mut block.bn1);
            fold(&mut block.conv2, &mut block.bn2);
        }
        self
    }

    /// # Shapes
    /// - images: `[batch, 3, height, width]`, usually 32x32
    /// - output: `[batch, 64]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        global_average(self.maps(images))
    }

    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: `[batch, 64, ceil(height / 4), ceil(width / 4)]`
    pub fn maps(&self, images: Tensor<4>) -> Tensor<4> {
        let x = conv_norm_relu(&self.conv1, &self.bn1, images);
        let blocks = self.layer1.iter().chain(&self.layer2).chain(&self.layer3);
        blocks.fold(x, |x, block| block.forward(x))
    }
}

/// Two 3x3 convolutions and a shortcut without parameters.
#[derive(Module, Debug)]
pub struct CifarBlock {
    conv1: Conv2d,
    bn1: Option<Norm>,
    conv2: Conv2d,
    bn2: Option<Norm>,
    stride: usize,
    added_channels: usize,
}

impl CifarBlock {
    /// # Shapes
    /// - x: `[batch, in_channels, height, width]`
    /// - output: `[batch, channels, ceil(height / stride), ceil(width / stride)]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = conv_norm_relu(&self.conv1, &self.bn1, x.clone());
        conv_norm_add_relu(&self.conv2, &self.bn2, y, self.shortcut(x))
    }

    /// Every `stride`-th pixel; half of the new channels before and half after are zero.
    fn shortcut(&self, x: Tensor<4>) -> Tensor<4> {
        if self.stride == 1 && self.added_channels == 0 {
            return x;
        }
        let step = self.stride as isize;
        let x = x.slice(s![.., .., ..;step, ..;step]);
        let [batch_size, _, height, width] = x.dims();
        let device = x.device();
        let options = (&device, x.dtype());
        let zeros = |channels| Tensor::zeros([batch_size, channels, height, width], options);
        let before = self.added_channels / 2;
        Tensor::cat(vec![zeros(before), x, zeros(self.added_channels - before)], 1)
    }
}
