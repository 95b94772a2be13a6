//! One convolution.

use burn::tensor::{Device, Tensor};
use longtail::kernels::{ConvOptions, conv2d};

use super::{Failure, Operation, magnitude, tensor};
use crate::work::{ConvShape, Pass};

pub(super) struct Conv {
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions,
    pass: Pass,
    device: Device,
}

impl Conv {
    pub(super) fn new(shape: &ConvShape, pass: Pass, device: &Device) -> Self {
        let &ConvShape { batch, in_channels, out_channels, size, kernel, stride, bias } = shape;
        let limit = 1.0 / ((in_channels * kernel * kernel) as f32).sqrt();
        // Images have no gradient.
        let input =
            if in_channels == 3 { device.clone().without_autodiff() } else { device.clone() };
        let mut x = tensor([batch, in_channels, size, size], 31, [-1.0, 1.0], &input);
        if in_channels == 3 && device.is_autodiff() {
            x = Tensor::from_inner(x);
        }
        let weight_shape = [out_channels, in_channels, kernel, kernel];
        Self {
            x,
            weight: tensor(weight_shape, 32, [-limit, limit], device),
            bias: bias.then(|| tensor([out_channels], 33, [-limit, limit], device)),
            options: ConvOptions {
                stride: [stride; 2],
                padding: [kernel / 2; 2],
                ..Default::default()
            },
            pass,
            device: device.clone(),
        }
    }

    fn forward(&self) -> Tensor<4> {
        conv2d(self.x.clone(), self.weight.clone(), self.bias.clone(), &self.options)
    }
}

impl Operation for Conv {
    fn run(&mut self) -> Result<(), Failure> {
        let output = self.forward();
        if self.pass == Pass::ForwardBackward {
            drop(output.backward());
        }
        Ok(self.device.sync()?)
    }

    fn check(&mut self) -> Result<Option<f64>, Failure> {
        let output = self.forward();
        if self.pass == Pass::Forward {
            return Ok(Some(magnitude(output)));
        }
        Ok(self.weight.grad(&output.backward()).map(magnitude))
    }
}
