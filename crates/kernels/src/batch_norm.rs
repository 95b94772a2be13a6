//! Batch normalization over batch, height and width.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{Tensor, assert_shape};

use crate::composed;
#[cfg(feature = "flex")]
use crate::flex::{self, LayerBackend};

/// What [`batch_norm_train`] returns.
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalized tensor, `[batch_size, channels, height, width]`.
    pub output: Tensor<4>,
    /// Mean of every channel over the batch, `[channels]`; carries no gradient.
    pub mean: Tensor<1>,
    /// Biased variance (divided by the number of values) of every channel over the batch,
    /// `[channels]`; carries no gradient.
    pub variance: Tensor<1>,
}

/// Normalizes every channel by its mean and biased variance over the batch.
///
/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias`; gradients flow through the
/// statistics. An empty batch has mean 0 and variance 0.
/// Source: Ioffe and Szegedy, ICML 2015, <https://arxiv.org/abs/1502.03167>.
/// # Shapes
/// - x: `[batch_size, channels, height, width]`
/// - weight, bias: `[channels]`
/// # Panics
/// If the shapes disagree.
pub fn batch_norm_train(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> BatchNormOutput {
    let [_, channels, _, _] = x.dims();
    assert_shape!(weight, [channels]);
    assert_shape!(bias, [channels]);
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        let (output, mean, variance) = <Dispatch as LayerBackend>::fused_batch_norm(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
            epsilon,
        );
        return BatchNormOutput {
            output: Tensor::from_dispatch(output),
            mean: Tensor::from_dispatch(mean),
            variance: Tensor::from_dispatch(variance),
        };
    }
    composed::batch_norm_train(x, weight, bias, epsilon)
}

/// Normalizes every channel by given statistics, folded into `y = x * scale + shift`.
///
/// `scale = weight / sqrt(running_var + epsilon)`, `shift = bias - running_mean * scale`.
/// # Shapes
/// - x, output: `[batch_size, channels, height, width]`
/// - weight, bias, running_mean, running_var: `[channels]`
/// # Panics
/// If the shapes disagree.
pub fn batch_norm_eval(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    running_mean: Tensor<1>,
    running_var: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    let [_, channels, _, _] = x.dims();
    assert_shape!(weight, [channels]);
    assert_shape!(bias, [channels]);
    assert_shape!(running_mean, [channels]);
    assert_shape!(running_var, [channels]);
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        let scale = weight / running_var.add_scalar(epsilon).sqrt();
        let shift = bias - running_mean * scale.clone();
        return Tensor::from_dispatch(<Dispatch as LayerBackend>::fused_affine(
            x.into_dispatch(),
            scale.into_dispatch(),
            shift.into_dispatch(),
        ));
    }
    composed::batch_norm_eval(x, weight, bias, running_mean, running_var, epsilon)
}
