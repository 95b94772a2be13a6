//! Fused forms for `flex`, the CPU backend: hand-written passes behind a Burn backend extension.

mod autodiff;
mod blocks;
mod channel_gradient;
mod conv;
mod correlate;
mod direct;
mod elementwise;
mod error_counts;
mod exp;
mod focal;
mod gradient_rows;
mod grouped_loss;
mod grouped_softmax;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_avx2;
#[cfg(target_arch = "x86_64")]
mod lanes_avx512;
mod linear;
mod ln;
mod loss;
mod loss_tables;
mod matrix;
mod negatives;
mod norm;
mod packed_weights;
mod parallel;
mod pixels;
mod planes;
mod pointwise;
mod pointwise_gradient;
mod pool;
mod product;
mod reduce;
mod roi_align;
mod row;
mod row_blocks;
mod sgd;
mod sigmoid_loss;
mod sigmoid_sums;
mod sigmoid_targets;
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_x86;
mod softmax_arguments;
mod softmax_loss;
mod tensor;
mod tile;
mod weight_gradient;
mod winograd;
mod winograd_few;
mod winograd_filters;
mod winograd_gradient;
mod winograd_gradient_many;
mod winograd_many;
mod winograd_pass;
mod winograd_strip;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::tensor::{DType, Device, Tensor};

use crate::ConvOptions;

pub(crate) use grouped_loss::grouped_softmax_loss;

/// The operations with a fused form.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait LayerBackend: Backend {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    fn fused_conv2d_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// `max(conv + bias, 0)`
    fn fused_conv2d_bias_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// `max(conv + bias + residual, 0)`
    fn fused_conv2d_bias_add_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// Output, mean, biased variance.
    fn fused_batch_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `x * scale + shift` per channel.
    fn fused_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn fused_relu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Whether `tensor` lies on `flex` in single precision and fused forms are allowed.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    crate::is_fused() && tensor.dtype() == DType::F32 && tensor.device().inner() == Device::flex()
}
