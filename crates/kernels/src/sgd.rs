//! One step of stochastic gradient descent with momentum.

#[cfg(feature = "flex")]
use burn::backend::tensor::FloatTensor;
#[cfg(feature = "flex")]
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::composed;
#[cfg(feature = "flex")]
use crate::flex;

/// Numbers of [`sgd_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdTerms {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last velocity that is kept.
    pub momentum: f64,
    /// Adds `weight_decay * value` to the gradient.
    pub weight_decay: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
}

/// `v = momentum * v + (g + weight_decay * p)`, then `p -= lr * v`, or with Nesterov
/// `p -= lr * (g + weight_decay * p + momentum * v)`; as `torch.optim.SGD` with dampening 0.
///
/// Gives the new value and velocity, written over the old ones where nobody else holds them. No
/// tensor may be on an autodiff device.
/// # Shapes
/// - value, gradient, velocity, both outputs: the same
/// # Panics
/// If the shapes differ.
pub fn sgd_step<const D: usize>(
    value: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Tensor<D>,
    terms: SgdTerms,
) -> (Tensor<D>, Tensor<D>) {
    let shape = value.dims();
    assert_eq!(gradient.dims(), shape, "shape of the gradient");
    assert_eq!(velocity.dims(), shape, "shape of the velocity");
    #[cfg(feature = "flex")]
    if flex::takes(&value) && !value.is_autodiff() {
        let [value, gradient, velocity] = [value, gradient, velocity].map(Tensor::into_dispatch);
        let (value, velocity) =
            <Dispatch as SgdBackend>::fused_sgd_step(value, gradient, velocity, terms);
        return (Tensor::from_dispatch(value), Tensor::from_dispatch(velocity));
    }
    composed::sgd_step(value, gradient, velocity, terms)
}

/// The fused form.
#[cfg(feature = "flex")]
#[backend_extension(Flex)]
pub(crate) trait SgdBackend: Backend {
    fn fused_sgd_step(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        terms: SgdTerms,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}
