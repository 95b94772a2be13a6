//! Batch normalisation with PyTorch's numbers.

use burn::config::Config;
use burn::module::{Flag, Module, Param};
use burn::tensor::{Tensor, assert_shape};
use longtail_kernels::{batch_norm_eval, batch_norm_train};

use crate::buffer::Buffer;
use crate::norm::NormStatistics;
use crate::weight_init::{Fill, WeightInit};

/// Configuration of [`BatchNorm2d`].
#[derive(Config, Debug)]
pub struct BatchNorm2dConfig {
    /// Channels of the input.
    pub num_features: usize,
    /// Added to the variance. Default: 1e-5, PyTorch's.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Share of the newest batch in the running statistics. Default: 0.1, PyTorch's.
    #[config(default = 0.1)]
    pub momentum: f64,
    /// Which statistics are used in training. Default: the batch's.
    #[config(default = "NormStatistics::Batch")]
    pub statistics: NormStatistics,
}

impl BatchNorm2dConfig {
    /// Makes the layer: weight 1, bias 0, running mean 0, running variance 1.
    pub fn init(&self, init: &WeightInit) -> BatchNorm2d {
        let shape = [self.num_features];
        BatchNorm2d {
            weight: init.param("weight", shape, Fill::Constant(1.0)),
            bias: init.param("bias", shape, Fill::Constant(0.0)),
            running_mean: Buffer::new(Tensor::zeros(shape, init.device())),
            running_var: Buffer::new(Tensor::ones(shape, init.device())),
            training: Param::from_bool(true),
            epsilon: self.epsilon,
            momentum: self.momentum,
            statistics: self.statistics,
        }
    }
}

/// Normalises each channel: `y = weight (x - mean) / sqrt(variance + epsilon) + bias`.
///
/// On an autodiff device, unless frozen (`freeze`) or told to use [`NormStatistics::Running`], mean
/// and variance are those of the batch and the running statistics move towards them; elsewhere the
/// running statistics are used and kept.
/// The batch is normalised by its biased variance while the running one is unbiased, as in PyTorch
/// (Burn's own `BatchNorm` keeps the biased one, and shares it between clones).
/// Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// Scale per channel.
    pub weight: Param<Tensor<1>>,
    /// Shift per channel.
    pub bias: Param<Tensor<1>>,
    /// Running mean per channel.
    pub running_mean: Buffer,
    /// Running unbiased variance per channel.
    pub running_var: Buffer,
    /// Cleared by `freeze`: then the running statistics are used on every device.
    pub training: Param<Flag>,
    epsilon: f64,
    momentum: f64,
    #[module(skip)]
    statistics: NormStatistics,
}

impl BatchNorm2d {
    /// # Shapes
    /// - x: `[batch, num_features, height, width]`
    /// - output: the same; an empty input changes no statistics
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch_size, num_features, height, width] = x.dims();
        assert_shape!(self.weight, [num_features]);
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let count = batch_size * height * width;
        let by_batch = self.training.is_enabled() && self.statistics == NormStatistics::Batch;
        if count == 0 || !x.is_autodiff() || !by_batch {
            let (mean, variance) = (self.running_mean.value(), self.running_var.value());
            return batch_norm_eval(x, weight, bias, mean, variance, self.epsilon);
        }
        let batch = batch_norm_train(x, weight, bias, self.epsilon);
        let unbiased = count as f64 / count.saturating_sub(1).max(1) as f64;
        self.running_mean.update(|mean| self.blend(mean, batch.mean, 1.0));
        self.running_var.update(|variance| self.blend(variance, batch.variance, unbiased));
        batch.output
    }

    /// Scale and shift of every channel by the running statistics.
    pub(crate) fn running_map(&self) -> (Tensor<1>, Tensor<1>) {
        let (mean, variance) = (self.running_mean.value(), self.running_var.value());
        let scale = self.weight.val() / variance.add_scalar(self.epsilon).sqrt();
        (scale.clone(), self.bias.val() - mean * scale)
    }

    fn blend(&self, running: Tensor<1>, batch: Tensor<1>, correction: f64) -> Tensor<1> {
        running * (1.0 - self.momentum) + batch.without_autodiff() * (self.momentum * correction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{assert_close, values};

    fn layer() -> BatchNorm2d {
        let device = longtail_testing::device().autodiff();
        BatchNorm2dConfig::new(2).init(&WeightInit::new(0, &device))
    }

    fn batch() -> Tensor<4> {
        let device = longtail_testing::device().autodiff();
        let values = [1.0_f32, 2.0, -1.0, 0.5, 4.0, 3.0, 0.0, 8.0];
        Tensor::<1>::from_floats(values, &device).reshape([2, 2, 1, 2])
    }

    /// Channel 0 has 1, 2, 4, 3 and channel 1 has -1, 0.5, 0, 8.
    #[test]
    fn running_statistics_use_the_unbiased_variance() {
        let norm = layer();
        let output = norm.forward(batch());
        assert_close("mean", &values(norm.running_mean.value()), &[0.25, 0.1875], 1e-6);
        // Sums of squared deviations 5 and 51.1875, divided by 3.
        let expected = [0.9 + 0.1 * 5.0 / 3.0, 0.9 + 0.1 * 51.1875 / 3.0];
        assert_close("variance", &values(norm.running_var.value()), &expected, 1e-6);
        let first = (1.0 - 2.5) / (1.25_f64 + 1e-5).sqrt(); // by the biased variance
        assert_close("output", &values(output)[..1], &[first], 1e-5);
    }

    #[test]
    fn copies_do_not_share_statistics() {
        let norm = layer();
        let copy = norm.clone();
        let snapshot = norm.valid();
        norm.forward(batch());
        assert_eq!(values(copy.running_mean.value()), [0.0, 0.0]);
        assert_eq!(values(snapshot.running_mean.value()), [0.0, 0.0]);
        copy.forward(batch() * 2.0);
        assert_close("original", &values(norm.running_mean.value()), &[0.25, 0.1875], 1e-6);
        assert_close("copy", &values(copy.running_mean.value()), &[0.5, 0.375], 1e-6);
    }

    #[test]
    fn inference_frozen_and_empty_leave_statistics_alone() {
        let norm = layer().freeze();
        norm.forward(batch());
        let norm = layer();
        norm.valid().forward(batch().without_autodiff());
        norm.forward(batch().without_autodiff());
        let empty = Tensor::zeros([0, 2, 3, 3], &batch().device());
        assert_eq!(norm.forward(empty).dims(), [0, 2, 3, 3]);
        assert_eq!(values(norm.running_mean.value()), [0.0, 0.0]);
        assert_eq!(values(norm.running_var.value()), [1.0, 1.0]);
    }

    /// Running statistics 0 and 1: the layer is `x / sqrt(1 + epsilon)`, and its weight has the
    /// gradient `sum x / sqrt(1 + epsilon)`.
    #[test]
    fn running_statistics_stay_while_the_weight_trains() {
        let device = longtail_testing::device().autodiff();
        let config = BatchNorm2dConfig::new(2).with_statistics(NormStatistics::Running);
        let norm = config.with_epsilon(3.0).init(&WeightInit::new(0, &device)).unfreeze();
        let output = norm.forward(batch());
        assert_close("output", &values(output.clone())[..2], &[0.5, 1.0], 1e-6);
        let gradients = output.sum().backward();
        let gradient = values(norm.weight.val().grad(&gradients).unwrap());
        assert_close("weight", &gradient, &[5.0, 3.75], 1e-6);
        assert_eq!(values(norm.running_mean.value()), [0.0, 0.0]);
    }

    #[test]
    fn records_hold_the_latest_statistics() {
        let norm = layer();
        norm.forward(batch());
        let device = longtail_testing::device().autodiff();
        let fresh = BatchNorm2dConfig::new(2).init(&WeightInit::new(1, &device));
        let loaded = fresh.load_record(norm.clone().into_record());
        assert_eq!(values(loaded.running_mean.value()), values(norm.running_mean.value()));
        assert_eq!(values(loaded.running_var.value()), values(norm.running_var.value()));
        assert!(loaded.weight.is_require_grad());
    }
}
