//! Rectified linear units, alone and after a residual sum.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{Tensor, assert_shape};

use crate::composed;
#[cfg(feature = "flex")]
use crate::flex::{self, LayerBackend};

/// `max(x, 0)`, with gradient 0 at 0.
/// # Shapes
/// - x, output: `[batch_size, channels, height, width]`
pub fn relu(x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        return Tensor::from_dispatch(<Dispatch as LayerBackend>::fused_relu(x.into_dispatch()));
    }
    composed::relu(x)
}

/// `max(a + b, 0)`: the end of a residual block.
/// # Shapes
/// - a, b, output: `[batch_size, channels, height, width]`
/// # Panics
/// If the shapes differ.
pub fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let [batch_size, channels, height, width] = a.dims();
    assert_shape!(b, [batch_size, channels, height, width]);
    #[cfg(feature = "flex")]
    if flex::takes(&a) {
        let (a, b) = (a.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as LayerBackend>::fused_add_relu(a, b));
    }
    composed::add_relu(a, b)
}
