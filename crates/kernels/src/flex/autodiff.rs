//! Backward passes of the fused operations.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex};

use super::LayerBackend;
use super::conv::Conv;
use super::norm::Statistics;
use super::tensor::{self, contiguous, values};
use crate::ConvOptions;

#[derive(Debug)]
struct ConvBackward;

/// What the gradients need; input and weight only where the other one is trained.
#[derive(Clone, Debug)]
struct ConvState {
    conv: Conv,
    x: Option<FlexTensor>,
    weight: Option<FlexTensor>,
    /// If a ReLU follows.
    output: Option<FlexTensor>,
}

impl ConvState {
    fn new(conv: Conv, x: FlexTensor, weight: FlexTensor, is_tracked: [bool; 2]) -> Self {
        let [x_is_tracked, weight_is_tracked] = is_tracked;
        let (x, weight) = (weight_is_tracked.then_some(x), x_is_tracked.then_some(weight));
        Self { conv, x, weight, output: None }
    }
}

/// Parents: input, weight, from `N = 3` on bias, with `N = 4` the residual.
impl<const N: usize> Backward<Flex, N> for ConvBackward {
    type State = ConvState;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let ConvState { conv, x, weight, output } = ops.state;
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradient = match output {
            Some(output) => tensor::mask(gradient, &output),
            None => contiguous(gradient),
        };
        let parents = ops.parents.each_ref().map(Option::as_ref);
        if let (Some(node), Some(x)) = (parents[1], &x) {
            let sums = conv.weight_gradient(values(x), values(&gradient));
            grads.register::<Flex>(node.id, sums.into_tensor(conv.weight_shape()));
        }
        if let Some(node) = parents.get(2).copied().flatten() {
            let sums = conv.bias_gradient(values(&gradient));
            grads.register::<Flex>(node.id, sums.into_tensor([conv.out_channels].into()));
        }
        if let (Some(node), Some(weight)) = (parents[0], &weight) {
            drop(x);
            let input = conv.input_gradient(values(weight), values(&gradient));
            grads.register::<Flex>(node.id, input.into_tensor(conv.input_shape()));
        }
        if let Some(node) = parents.get(3).copied().flatten() {
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

#[derive(Debug)]
struct BatchNormBackward;

#[derive(Clone, Debug)]
struct BatchNormState {
    x: FlexTensor,
    weight: FlexTensor,
    statistics: Statistics,
    epsilon: f64,
}

impl Backward<Flex, 3> for BatchNormBackward {
    type State = BatchNormState;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let BatchNormState { x, weight, statistics, epsilon } = ops.state;
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradients = tensor::batch_norm_backward(gradient, &x, &weight, &statistics, epsilon);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct AffineBackward;

impl Backward<Flex, 3> for AffineBackward {
    type State = (FlexTensor, FlexTensor);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (x, scale) = ops.state;
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradients = tensor::affine_backward(gradient, &x, &scale);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Of `relu` (one parent) and `add_relu` (two): the state is the output.
#[derive(Debug)]
struct ReluBackward;

impl<const N: usize> Backward<Flex, N> for ReluBackward {
    type State = FlexTensor;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = tensor::mask(grads.consume::<Flex>(&ops.node), &ops.state);
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, gradient.clone());
        }
    }
}

impl<C: CheckpointStrategy> LayerBackend for Autodiff<Flex, C> {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let is_tracked = [x.is_tracked(), weight.is_tracked()];
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let conv = tensor::conv(&x, &weight, options);
        let output = tensor::conv_forward(&conv, &x, &weight, [None, None], false);
        match ConvBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                prepare.finish(ConvState::new(conv, x, weight, is_tracked), output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_conv2d_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let is_tracked = [x.is_tracked(), weight.is_tracked()];
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let conv = tensor::conv(&x, &weight, options);
        let output = tensor::conv_forward(&conv, &x, &weight, [Some(bias), None], false);
        let prepare = ConvBackward.prepare::<C>([x_node, weight_node, bias_node]);
        match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                prepare.finish(ConvState::new(conv, x, weight, is_tracked), output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_conv2d_bias_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let is_tracked = [x.is_tracked(), weight.is_tracked()];
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let conv = tensor::conv(&x, &weight, options);
        let output = tensor::conv_forward(&conv, &x, &weight, [Some(bias), None], true);
        let prepare = ConvBackward.prepare::<C>([x_node, weight_node, bias_node]);
        match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let mut state = ConvState::new(conv, x, weight, is_tracked);
                state.output = Some(output.clone());
                prepare.finish(state, output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_conv2d_bias_add_relu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let is_tracked = [x.is_tracked(), weight.is_tracked()];
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (residual, residual_node) = residual.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let conv = tensor::conv(&x, &weight, options);
        let output = tensor::conv_forward(&conv, &x, &weight, [Some(bias), Some(residual)], true);
        let prepare = ConvBackward.prepare::<C>([x_node, weight_node, bias_node, residual_node]);
        match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let mut state = ConvState::new(conv, x, weight, is_tracked);
                state.output = Some(output.clone());
                prepare.finish(state, output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_batch_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let prepare = BatchNormBackward.prepare::<C>([x_node, weight_node, bias_node]);
        let (output, mean, variance) = match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let result = tensor::batch_norm(x.clone(), &weight, bias, epsilon);
                let state = BatchNormState { x, weight, statistics: result.statistics, epsilon };
                (prepare.finish(state, result.output), result.mean, result.variance)
            }
            OpsKind::UnTracked(prepare) => {
                let result = tensor::batch_norm(x, &weight, bias, epsilon);
                (prepare.finish(result.output), result.mean, result.variance)
            }
        };
        (output, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn fused_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (scale, scale_node) = scale.into_parts();
        let (shift, shift_node) = shift.into_parts();
        let (x, scale) = (contiguous(x), contiguous(scale));
        let prepare = AffineBackward.prepare::<C>([x_node, scale_node, shift_node]);
        match prepare.compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let output = tensor::affine(x.clone(), &scale, shift);
                prepare.finish((x, scale), output)
            }
            OpsKind::UnTracked(prepare) => prepare.finish(tensor::affine(x, &scale, shift)),
        }
    }

    fn fused_relu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = tensor::relu(x);
        match ReluBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => prepare.finish(output.clone(), output),
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let (a, a_node) = a.into_parts();
        let (b, b_node) = b.into_parts();
        let output = tensor::add_relu(a, b);
        match ReluBackward.prepare::<C>([a_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => prepare.finish(output.clone(), output),
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }
}
