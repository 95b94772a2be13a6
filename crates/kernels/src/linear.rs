//! The fully connected layer.

#[cfg(feature = "flex")]
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
#[cfg(feature = "flex")]
use burn::backend::autodiff::grads::Gradients;
#[cfg(feature = "flex")]
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
#[cfg(feature = "flex")]
use burn::backend::tensor::FloatTensor;
#[cfg(feature = "flex")]
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::{Tensor, assert_shape};

use crate::composed;
#[cfg(feature = "flex")]
use crate::flex;

/// `x weight^T + bias`
/// # Shapes
/// - x: `[rows, in_features]`
/// - weight: `[out_features, in_features]`, as in PyTorch
/// - bias: `[out_features]`
/// - output: `[rows, out_features]`
/// # Panics
/// If the shapes disagree.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    forward(x, weight, bias, false)
}

/// `max(x weight^T + bias, 0)`: a fully connected layer with its activation in the same pass.
/// # Shapes
/// As in [`linear`].
/// # Panics
/// As [`linear`].
pub fn linear_relu(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    forward(x, weight, bias, true)
}

fn forward(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>, is_relu: bool) -> Tensor<2> {
    let [out_features, in_features] = weight.dims();
    assert_shape!(x, [_, in_features]);
    if let Some(bias) = &bias {
        assert_shape!(bias, [out_features]);
    }
    #[cfg(feature = "flex")]
    if flex::takes(&x) {
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(match bias {
            None => <Dispatch as LinearBackend>::fused_linear(x, weight, is_relu),
            Some(bias) => {
                let bias = bias.into_dispatch();
                <Dispatch as LinearBackend>::fused_linear_bias(x, weight, bias, is_relu)
            }
        });
    }
    match is_relu {
        true => composed::linear_relu(x, weight, bias),
        false => composed::linear(x, weight, bias),
    }
}

/// The fused form.
#[cfg(feature = "flex")]
#[backend_extension(Autodiff, Flex)]
pub(crate) trait LinearBackend: Backend {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        is_relu: bool,
    ) -> FloatTensor<Self>;

    fn fused_linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_relu: bool,
    ) -> FloatTensor<Self>;

    /// `gradient weight`: of the input.
    fn fused_linear_input(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `gradient^T x`: of the weight.
    fn fused_linear_weight(gradient: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient where the output is positive, else 0.
    fn fused_linear_mask(
        gradient: FloatTensor<Self>,
        output: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Sums over the rows: of the bias.
    fn fused_linear_rows(gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Parents: input, weight and, with `N = 3`, bias.
#[cfg(feature = "flex")]
#[derive(Debug)]
struct LinearBackward;

/// What the gradients need: input and weight only where the other one is trained, the output if a
/// ReLU follows.
#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct LinearState<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    output: Option<FloatTensor<B>>,
}

#[cfg(feature = "flex")]
impl<B: LinearBackend, const N: usize> Backward<B, N> for LinearBackward {
    type State = LinearState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let LinearState { x, weight, output } = ops.state;
        let mut gradient = grads.consume::<B>(&ops.node);
        if let Some(output) = output {
            gradient = B::fused_linear_mask(gradient, output);
        }
        let parents = ops.parents.each_ref().map(Option::as_ref);
        if let (Some(node), Some(x)) = (parents[1], x) {
            let of_weight = B::fused_linear_weight(gradient.clone(), x);
            grads.register::<B>(node.id, of_weight);
        }
        if let Some(node) = parents.get(2).copied().flatten() {
            grads.register::<B>(node.id, B::fused_linear_rows(gradient.clone()));
        }
        if let (Some(node), Some(weight)) = (parents[0], weight) {
            grads.register::<B>(node.id, B::fused_linear_input(gradient, weight));
        }
    }
}

#[cfg(feature = "flex")]
impl<B: LinearBackend, C: CheckpointStrategy> LinearBackend for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        is_relu: bool,
    ) -> FloatTensor<Self> {
        let (of_x, of_weight) = (weight.is_tracked(), x.is_tracked());
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let output = B::fused_linear(x.clone(), weight.clone(), is_relu);
        match LinearBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let state = LinearState {
                    x: of_x.then_some(x),
                    weight: of_weight.then_some(weight),
                    output: is_relu.then(|| output.clone()),
                };
                prepare.finish(state, output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        is_relu: bool,
    ) -> FloatTensor<Self> {
        let (of_x, of_weight) = (weight.is_tracked(), x.is_tracked());
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let output = B::fused_linear_bias(x.clone(), weight.clone(), bias, is_relu);
        let prepare = LinearBackward.prepare::<C>([x_node, weight_node, bias_node]);
        match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let state = LinearState {
                    x: of_x.then_some(x),
                    weight: of_weight.then_some(weight),
                    output: is_relu.then(|| output.clone()),
                };
                prepare.finish(state, output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    // Constants: there is no second derivative.

    fn fused_linear_input(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (gradient, weight) = (gradient.into_parts().0, weight.into_parts().0);
        Self::from_inner(B::fused_linear_input(gradient, weight))
    }

    fn fused_linear_weight(gradient: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::fused_linear_weight(gradient.into_parts().0, x.into_parts().0))
    }

    fn fused_linear_mask(
        gradient: FloatTensor<Self>,
        output: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::fused_linear_mask(gradient.into_parts().0, output.into_parts().0))
    }

    fn fused_linear_rows(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::fused_linear_rows(gradient.into_parts().0))
    }
}
