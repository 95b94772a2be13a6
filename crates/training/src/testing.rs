//! A small layer with the values of xtask/reference/training.py.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};

/// Weight `[2, 3]` and bias `[3]`.
pub(crate) fn linear(device: &Device) -> Linear {
    let mut layer = LinearConfig::new(2, 3).init(device);
    let weight = Tensor::<2>::from_floats([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], device);
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(Tensor::from_floats([0.1, -0.2, 0.3], device)));
    layer
}

/// Inputs `[4, 2]` and labels `[4]`.
pub(crate) fn inputs(device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let x = Tensor::from_floats([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7], [2.0, 1.0]], device);
    (x, Tensor::from_ints([0, 1, 2, 1], device))
}

/// Gradients of the mean cross-entropy.
pub(crate) fn cross_entropy_gradients(
    layer: &Linear,
    x: Tensor<2>,
    y: Tensor<1, Int>,
) -> GradientsParams {
    let loss = -log_softmax(layer.forward(x), 1).gather(1, y.unsqueeze_dim(1)).mean();
    GradientsParams::from_grads(loss.backward(), layer)
}
