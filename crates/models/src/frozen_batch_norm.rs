//! Batch normalisation that never trains.

use burn::module::Module;
use burn::tensor::{Tensor, assert_shape};
use longtail_kernels::batch_norm_eval;

use crate::buffer::Buffer;
use crate::weight_init::WeightInit;

/// Normalises each channel by fixed numbers:
/// `y = weight (x - running_mean) / sqrt(running_var + epsilon) + bias`.
///
/// None of the four vectors gets a gradient or moves; they come from a weight file. The usual norm
/// of detectors that start from ImageNet weights and see two images at a time. Names are those of
/// torchvision's `FrozenBatchNorm2d`.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm2d {
    /// Scale per channel.
    pub weight: Buffer,
    /// Shift per channel.
    pub bias: Buffer,
    /// Mean per channel.
    pub running_mean: Buffer,
    /// Variance per channel.
    pub running_var: Buffer,
    epsilon: f64,
}

impl FrozenBatchNorm2d {
    /// Weight 1, bias 0, mean 0, variance 1: without a weight file it changes nothing.
    pub fn new(num_features: usize, epsilon: f64, init: &WeightInit) -> Self {
        let zeros = || Buffer::new(Tensor::zeros([num_features], init.device()));
        let ones = || Buffer::new(Tensor::ones([num_features], init.device()));
        let (weight, bias, running_mean, running_var) = (ones(), zeros(), zeros(), ones());
        Self { weight, bias, running_mean, running_var, epsilon }
    }

    /// Scale and shift of every channel.
    pub(crate) fn map(&self) -> (Tensor<1>, Tensor<1>) {
        let (mean, variance) = (self.running_mean.value(), self.running_var.value());
        let scale = self.weight.value() / variance.add_scalar(self.epsilon).sqrt();
        (scale.clone(), self.bias.value() - mean * scale)
    }

    /// # Shapes
    /// - x: `[batch, num_features, height, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, num_features, _, _] = x.dims();
        let (weight, bias) = (self.weight.value(), self.bias.value());
        assert_shape!(weight, [num_features]);
        let (mean, variance) = (self.running_mean.value(), self.running_var.value());
        batch_norm_eval(x, weight, bias, mean, variance, self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{assert_close, values};

    /// `3 (x - 1) / sqrt(4 + 0) + 2`, whose slope is 1.5.
    #[test]
    fn it_is_an_affine_map_without_parameters() {
        let device = longtail_testing::device().autodiff();
        let norm = FrozenBatchNorm2d::new(1, 0.0, &WeightInit::new(0, &device));
        for (buffer, value) in [
            (&norm.weight, 3.0),
            (&norm.bias, 2.0),
            (&norm.running_mean, 1.0),
            (&norm.running_var, 4.0),
        ] {
            buffer.update(|old| old * 0.0 + value);
        }
        let norm = norm.unfreeze();
        let x = Tensor::<1>::from_floats([1.0, 3.0, -1.0], &device).reshape([1, 1, 1, 3]);
        let x = x.require_grad();
        let y = norm.forward(x.clone());
        assert_close("output", &values(y.clone()), &[2.0, 5.0, -1.0], 1e-6);
        let gradient = x.grad(&y.sum().backward()).unwrap();
        assert_close("gradient", &values(gradient), &[1.5; 3], 1e-6);
        assert!(!norm.weight.value().is_autodiff());
    }
}
