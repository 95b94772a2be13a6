//! A convolution and what follows it, in one pass where that is possible.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use longtail_kernels::{add_relu, conv2d, conv2d_bias_add_relu, conv2d_bias_relu, relu};

use crate::conv::Conv2d;
use crate::norm::Norm;

/// `norm(conv(x))`; without a norm, `conv(x)`.
pub(crate) fn conv_norm(conv: &Conv2d, norm: &Option<Norm>, x: Tensor<4>) -> Tensor<4> {
    match merged(conv, norm, &x) {
        Some((weight, bias)) => conv2d(x, weight, Some(bias), conv.options()),
        None => normed(conv, norm, x),
    }
}

/// `relu(norm(conv(x)))`
pub(crate) fn conv_norm_relu(conv: &Conv2d, norm: &Option<Norm>, x: Tensor<4>) -> Tensor<4> {
    match merged(conv, norm, &x) {
        Some((weight, bias)) => conv2d_bias_relu(x, weight, bias, conv.options()),
        None => relu(normed(conv, norm, x)),
    }
}

/// `relu(norm(conv(x)) + residual)`
pub(crate) fn conv_norm_add_relu(
    conv: &Conv2d,
    norm: &Option<Norm>,
    x: Tensor<4>,
    residual: Tensor<4>,
) -> Tensor<4> {
    match merged(conv, norm, &x) {
        Some((weight, bias)) => conv2d_bias_add_relu(x, weight, bias, residual, conv.options()),
        None => add_relu(normed(conv, norm, x), residual),
    }
}

/// The convolution with a norm that is a fixed map of each channel moved into its weights, for good.
/// A norm that depends on its input stays.
pub(crate) fn folded((conv, norm): &(Conv2d, Option<Norm>)) -> (Conv2d, Option<Norm>) {
    match norm.as_ref().and_then(|norm| norm.fixed_map(false)) {
        Some(map) => {
            let (weight, bias) = scaled(conv, map);
            let (weight, bias) = (Param::from_tensor(weight), Param::from_tensor(bias));
            (conv.with_weights(weight.freeze(), bias.freeze()), None)
        }
        None => (conv.clone(), norm.clone()),
    }
}

/// As [`folded`], for fields of their own.
pub(crate) fn fold(conv: &mut Conv2d, norm: &mut Option<Norm>) {
    (*conv, *norm) = folded(&(conv.clone(), norm.take()));
}

fn normed(conv: &Conv2d, norm: &Option<Norm>, x: Tensor<4>) -> Tensor<4> {
    let x = conv.forward(x);
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// Weight and bias of one convolution that stands for both, unless the norm depends on its input or
/// scaling its output is less work than scaling the weights.
fn merged(conv: &Conv2d, norm: &Option<Norm>, x: &Tensor<4>) -> Option<(Tensor<4>, Tensor<1>)> {
    let Some(norm) = norm else {
        return Some((conv.weight.val(), conv.bias.as_ref()?.val()));
    };
    let [batch_size, _, height, width] = x.dims();
    let [_, in_channels, kernel_height, kernel_width] = conv.weight.dims();
    let kernel = [kernel_height, kernel_width];
    let [out_height, out_width] = conv.options().output_size([height, width], kernel)?;
    let values_per_channel = batch_size * out_height * out_width;
    if values_per_channel < in_channels * kernel_height * kernel_width {
        return None;
    }
    Some(scaled(conv, norm.fixed_map(x.is_autodiff())?))
}

/// `scale (w x + b) + shift = (scale w) x + (scale b + shift)`
fn scaled(conv: &Conv2d, (scale, shift): (Tensor<1>, Tensor<1>)) -> (Tensor<4>, Tensor<1>) {
    let [out_channels] = scale.dims();
    let bias = match &conv.bias {
        Some(bias) => bias.val() * scale.clone() + shift,
        None => shift,
    };
    (conv.weight.val() * scale.reshape([out_channels, 1, 1, 1]), bias)
}
