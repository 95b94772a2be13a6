//! Group normalisation with PyTorch's numbers.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor, assert_shape};
use longtail_kernels::to_single;

use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// Normalises groups of channels of each image by their own mean and biased variance, then scales
/// and shifts each channel. It does not depend on the batch, so small batches do no harm.
///
/// Source: Wu and He, <https://arxiv.org/abs/1803.08494>. Names are those of PyTorch's `GroupNorm`.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale per channel.
    pub weight: Param<Tensor<1>>,
    /// Shift per channel.
    pub bias: Param<Tensor<1>>,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    /// Weight 1, bias 0.
    ///
    /// # Errors
    /// If `groups` does not divide `num_features`.
    pub fn new(
        num_features: usize,
        groups: usize,
        epsilon: f64,
        init: &WeightInit,
    ) -> Result<Self, ModelError> {
        if groups == 0 || !num_features.is_multiple_of(groups) {
            let value = format!("{groups} for {num_features} channels");
            let expected = "a divisor of the number of channels";
            return Err(ModelError::InvalidValue { name: "norm.groups", value, expected });
        }
        let weight = init.param("weight", [num_features], Fill::Constant(1.0));
        let bias = init.param("bias", [num_features], Fill::Constant(0.0));
        Ok(Self { weight, bias, groups, epsilon })
    }

    /// # Shapes
    /// - x: `[batch, num_features, height, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shape @ [batch_size, channels, height, width] = x.dims();
        assert_shape!(self.weight, [channels]);
        let area = height * width;
        if batch_size * area == 0 {
            return x;
        }
        let dtype = x.dtype();
        let x = to_single(x).reshape([batch_size, self.groups, channels / self.groups * area]);
        let centered = x.clone() - x.mean_dim(2);
        let variance = centered.clone().powi_scalar(2).mean_dim(2);
        let x = centered * variance.add_scalar(self.epsilon).sqrt().recip();
        let per_channel = |values: &Param<Tensor<1>>| values.val().reshape([1, channels, 1, 1]);
        let y = x.reshape(shape) * per_channel(&self.weight) + per_channel(&self.bias);
        if dtype == DType::F32 { y } else { y.cast(dtype) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{assert_close, values};

    /// Slow loops over every image and group.
    fn expected(x: &[f32], [batch, channels, area]: [usize; 3], groups: usize) -> Vec<f64> {
        let size = channels / groups * area;
        let mut y = Vec::new();
        for (index, group) in x.chunks(size).enumerate() {
            let mean = group.iter().map(|&v| f64::from(v)).sum::<f64>() / size as f64;
            let deviations = group.iter().map(|&v| (f64::from(v) - mean).powi(2));
            let std = (deviations.sum::<f64>() / size as f64 + 1e-5).sqrt();
            for (i, &v) in group.iter().enumerate() {
                let channel = (index * size + i) / area % channels;
                y.push((f64::from(v) - mean) / std * (channel as f64 + 1.0) - channel as f64);
            }
        }
        assert_eq!(y.len(), batch * channels * area);
        y
    }

    #[test]
    fn groups_are_normalised_image_by_image() {
        let device = longtail_testing::device();
        let mut norm = GroupNorm::new(4, 2, 1e-5, &WeightInit::new(0, &device)).unwrap();
        let per_channel =
            |values: [f32; 4]| Param::from_tensor(Tensor::from_floats(values, &device));
        norm.weight = per_channel([1.0, 2.0, 3.0, 4.0]);
        norm.bias = per_channel([0.0, -1.0, -2.0, -3.0]);
        let x: Vec<f32> = (0..48).map(|i| ((i * 37 % 23) as f32).sin() * 3.0 + 1.0).collect();
        let input = Tensor::<1>::from_floats(x.as_slice(), &device).reshape([2, 4, 2, 3]);
        assert_close("output", &values(norm.forward(input)), &expected(&x, [2, 4, 6], 2), 1e-5);
        assert_eq!(norm.forward(Tensor::zeros([0, 4, 2, 3], &device)).dims(), [0, 4, 2, 3]);
    }

    #[test]
    fn groups_divide_the_channels() {
        let device = longtail_testing::device();
        for groups in [0, 3] {
            let error = GroupNorm::new(16, groups, 1e-5, &WeightInit::new(0, &device)).unwrap_err();
            let expected = format!(
                "norm.groups = {groups} for 16 channels, but it must be a divisor of the number of channels"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}
