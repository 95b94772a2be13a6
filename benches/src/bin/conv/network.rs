//! ResNet-20 on CIFAR and its parts.

use burn::tensor::{Device, Distribution, Tensor};
use longtail_kernels::{ConvOptions, add_relu, batch_norm_train, conv2d, relu};

pub(crate) type Forward = Box<dyn Fn() -> Tensor<4>>;

pub(crate) fn parameter<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.1), device).require_grad()
}

pub(crate) fn convolution(x: Tensor<4>, weight: Tensor<4>, stride: usize) -> Tensor<4> {
    let padding = weight.dims()[2] / 2;
    let options = ConvOptions { stride: [stride; 2], padding: [padding; 2], ..Default::default() };
    conv2d(x, weight, None, &options)
}

pub(crate) struct Norm {
    weight: Tensor<1>,
    bias: Tensor<1>,
}

impl Norm {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self { weight: parameter([channels], device), bias: parameter([channels], device) }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        batch_norm_train(x, self.weight.clone(), self.bias.clone(), 1e-5).output
    }
}

struct Block {
    conv1: Tensor<4>,
    norm1: Norm,
    conv2: Tensor<4>,
    norm2: Norm,
    project: Option<Tensor<4>>,
    stride: usize,
}

impl Block {
    fn new(channels: usize, out: usize, device: &Device) -> Self {
        Self {
            conv1: parameter([out, channels, 3, 3], device),
            norm1: Norm::new(out, device),
            conv2: parameter([out, out, 3, 3], device),
            norm2: Norm::new(out, device),
            project: (channels != out).then(|| parameter([out, channels, 1, 1], device)),
            stride: if channels == out { 1 } else { 2 },
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = convolution(x.clone(), self.conv1.clone(), self.stride);
        let y = relu(self.norm1.forward(y));
        let y = self.norm2.forward(convolution(y, self.conv2.clone(), 1));
        let shortcut = match &self.project {
            None => x,
            Some(project) => convolution(x, project.clone(), self.stride),
        };
        add_relu(y, shortcut)
    }
}

pub(crate) fn resnet20(batch_size: usize, device: &Device) -> Forward {
    let widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64];
    let stem = parameter([16, 3, 3, 3], device);
    let stem_norm = Norm::new(16, device);
    let blocks: Vec<Block> =
        widths.windows(2).map(|pair| Block::new(pair[0], pair[1], device)).collect();
    let head = parameter([64, 10], device);
    let x = Tensor::random([batch_size, 3, 32, 32], Distribution::Default, device);
    Box::new(move || {
        let stem = relu(stem_norm.forward(convolution(x.clone(), stem.clone(), 1)));
        let features = blocks.iter().fold(stem, |x, block| block.forward(x));
        let [batch_size, channels, height, width] = features.dims();
        let pooled = features.reshape([batch_size, channels, height * width]).mean_dim(2);
        let logits = pooled.reshape([batch_size, channels]).matmul(head.clone());
        logits.powi_scalar(2).mean().reshape([1, 1, 1, 1])
    })
}
