//! 2D convolution over the workspace's kernel, weights laid out as in PyTorch.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use longtail_kernels::{ConvOptions, conv2d};

use crate::weight_init::{Fill, WeightInit};

/// First weights of a convolution.
#[derive(Config, Copy, Debug, PartialEq)]
pub enum ConvInit {
    /// Normal, variance `2 / (out_channels * k^2 / groups)`: torchvision's ResNets (He et al.,
    /// <https://arxiv.org/abs/1502.01852>, fan-out form).
    KaimingNormalFanOut,
    /// Uniform in `±1 / sqrt(fan_in)`: what PyTorch's `nn.Conv2d` does by itself.
    PyTorchDefault,
    /// Uniform in `±sqrt(3 / fan_in)`: torchvision's pyramids (`kaiming_uniform_` with `a = 1`).
    KaimingUniform,
    /// Normal with this standard deviation: torchvision's detection heads.
    Normal(f64),
}

/// First biases of a convolution.
#[derive(Config, Copy, Debug, PartialEq)]
pub enum BiasInit {
    /// Uniform in `±1 / sqrt(fan_in)`: what PyTorch's `nn.Conv2d` does by itself.
    PyTorchDefault,
    /// One value in every channel.
    Constant(f32),
}

/// Configuration of [`Conv2d`]: square kernel, same stride and padding on both axes.
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel_size: usize,
    /// Step of the kernel. Default: 1.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros added at each border. Default: 0.
    #[config(default = 0)]
    pub padding: usize,
    /// Channel groups convolved apart. Default: 1.
    #[config(default = 1)]
    pub groups: usize,
    /// Adds a bias per output channel. Default: none, as a batch norm follows.
    #[config(default = false)]
    pub bias: bool,
    /// First weights. Default: torchvision's.
    #[config(default = "ConvInit::KaimingNormalFanOut")]
    pub init: ConvInit,
    /// First biases. Default: PyTorch's.
    #[config(default = "BiasInit::PyTorchDefault")]
    pub bias_init: BiasInit,
}

impl Conv2dConfig {
    /// Makes the layer; `init` gives its place in the model.
    pub fn init(&self, init: &WeightInit) -> Conv2d {
        let area = self.kernel_size * self.kernel_size;
        let fan_in = (self.in_channels / self.groups * area) as f64;
        let fan_out = (self.out_channels * area) as f64; // PyTorch leaves out the groups
        let limit = 1.0 / fan_in.sqrt();
        let fill = match self.init {
            ConvInit::KaimingNormalFanOut => Fill::Normal { std: (2.0 / fan_out).sqrt() },
            ConvInit::PyTorchDefault => Fill::Uniform { limit },
            ConvInit::KaimingUniform => Fill::Uniform { limit: (3.0 / fan_in).sqrt() },
            ConvInit::Normal(std) => Fill::Normal { std },
        };
        let bias_fill = match self.bias_init {
            BiasInit::PyTorchDefault => Fill::Uniform { limit },
            BiasInit::Constant(value) => Fill::Constant(value),
        };
        let [out, kernel] = [self.out_channels, self.kernel_size];
        let shape = [out, self.in_channels / self.groups, kernel, kernel];
        Conv2d {
            weight: init.param("weight", shape, fill),
            bias: self.bias.then(|| init.param("bias", [out], bias_fill)),
            options: ConvOptions {
                stride: [self.stride; 2],
                padding: [self.padding; 2],
                groups: self.groups,
                ..Default::default()
            },
        }
    }
}

/// Convolves images with learned kernels.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out_channels, in_channels / groups, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[out_channels]`
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    options: ConvOptions,
}

impl Conv2d {
    /// # Shapes
    /// - x: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, (height + 2 padding - kernel) / stride + 1, ..]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(x, self.weight.val(), bias, &self.options)
    }

    pub(crate) fn options(&self) -> &ConvOptions {
        &self.options
    }

    /// The same layer with other weights of the same shapes.
    pub(crate) fn with_weights(&self, weight: Param<Tensor<4>>, bias: Param<Tensor<1>>) -> Self {
        Self { weight, bias: Some(bias), options: self.options }
    }
}
