//! Every operation of this crate written with ordinary tensor operations: runs on any device and
//! serves as the oracle of the fused forms. Shapes and panics as in the functions of the same name
//! at the root of the crate.

use burn::tensor::{Tensor, activation, module, ops};

pub use crate::composed_roi_align::roi_align;
pub use crate::composed_sigmoid_loss::{
    sigmoid_error_counts, sigmoid_loss, sigmoid_loss_with_sums,
};
pub use crate::composed_softmax_loss::{grouped_softmax_loss, softmax_loss};
use crate::precision::{cast, to_single};
use crate::{BatchNormOutput, ConvOptions, SgdTerms};

/// Composed form of [`conv2d`](crate::conv2d).
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: &ConvOptions,
) -> Tensor<4> {
    let ConvOptions { stride, padding, dilation, groups } = *options;
    let [batch_size, _, height, width] = x.dims();
    let [out_channels, _, kernel_height, kernel_width] = weight.dims();
    if batch_size == 0 {
        // Some backends refuse an empty batch.
        let size = options.output_size([height, width], [kernel_height, kernel_width]);
        let [out_height, out_width] = size.unwrap_or_default();
        let shape = [0, out_channels, out_height, out_width];
        return Tensor::zeros(shape, (&x.device(), x.dtype()));
    }
    let dtype = x.dtype();
    let (weight, bias) = (cast(weight, dtype), bias.map(|bias| cast(bias, dtype)));
    module::conv2d(x, weight, bias, ops::ConvOptions::new(stride, padding, dilation, groups))
}

/// Composed form of [`batch_norm_train`](crate::batch_norm_train).
pub fn batch_norm_train(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> BatchNormOutput {
    let [batch_size, channels, height, width] = x.dims();
    let count = batch_size * height * width;
    if count == 0 {
        let zeros = Tensor::zeros([channels], &x.device()).detach();
        return BatchNormOutput { output: x, mean: zeros.clone(), variance: zeros };
    }
    let dtype = x.dtype();
    let x = to_single(x);
    let per_channel = [1, channels, 1, 1];
    let channel_mean = |values: Tensor<4>| -> Tensor<4> {
        let rows = values.swap_dims(0, 1).reshape([channels, count]);
        rows.mean_dim(1).reshape(per_channel)
    };
    let mean = channel_mean(x.clone());
    let centered = x - mean.clone();
    let variance = channel_mean(centered.clone().powi_scalar(2));
    let inverse_std = variance.clone().add_scalar(epsilon).sqrt().recip();
    let output = centered * (inverse_std * weight.reshape(per_channel)) + bias.reshape(per_channel);
    let statistic = |value: Tensor<4>| value.detach().reshape([channels]);
    let output = cast(output, dtype);
    BatchNormOutput { output, mean: statistic(mean), variance: statistic(variance) }
}

/// Composed form of [`batch_norm_eval`](crate::batch_norm_eval).
pub fn batch_norm_eval(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    running_mean: Tensor<1>,
    running_var: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    let [_, channels, _, _] = x.dims();
    let scale = weight / running_var.add_scalar(epsilon).sqrt();
    let shift = bias - running_mean * scale.clone();
    let dtype = x.dtype();
    let y = to_single(x) * scale.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1]);
    cast(y, dtype)
}

/// Composed form of [`relu`](crate::relu).
pub fn relu(x: Tensor<4>) -> Tensor<4> {
    activation::relu(x)
}

/// Composed form of [`add_relu`](crate::add_relu).
pub fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    activation::relu(a + b)
}

/// Composed form of [`sgd_step`](crate::sgd_step).
pub fn sgd_step<const D: usize>(
    value: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Tensor<D>,
    terms: SgdTerms,
) -> (Tensor<D>, Tensor<D>) {
    let SgdTerms { lr, momentum, weight_decay, nesterov } = terms;
    let gradient = match weight_decay {
        0.0 => gradient,
        _ => gradient + value.clone().mul_scalar(weight_decay),
    };
    let velocity = velocity.mul_scalar(momentum) + gradient.clone();
    let step = match nesterov {
        true => gradient + velocity.clone().mul_scalar(momentum),
        false => velocity.clone(),
    };
    (value - step.mul_scalar(lr), velocity)
}

/// Composed form of [`linear`](crate::linear).
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, in_features] = x.dims();
    let [out_features, _] = weight.dims();
    if rows == 0 {
        // Some backends refuse a product of no rows.
        return Tensor::zeros([0, out_features], (&x.device(), x.dtype()));
    }
    let output = match in_features {
        0 => Tensor::zeros([rows, out_features], (&x.device(), x.dtype())), // or over no columns
        _ => {
            let weight = cast(weight, x.dtype());
            x.matmul(weight.transpose())
        }
    };
    match bias {
        Some(bias) => {
            let bias = cast(bias, output.dtype());
            output + bias.unsqueeze()
        }
        None => output,
    }
}

/// Composed form of [`linear_relu`](crate::linear_relu).
pub fn linear_relu(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    activation::relu(linear(x, weight, bias))
}
