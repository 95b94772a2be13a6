//! The grouped softmax loss as a Burn backend extension, and its backward pass.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{Int, Tensor};

use super::grouped_softmax::{Group, GroupedSoftmax};
use super::loss::{columns, pass, scale_rows};
use super::tensor::{contiguous, values};
use crate::ColumnGroups;

/// Loss of each row on `flex`.
pub(crate) fn grouped_softmax_loss(
    logits: Tensor<2>,
    labels: Tensor<1, Int>,
    groups: ColumnGroups,
    weights: Tensor<2>,
) -> Tensor<1> {
    let (losses, _) = <Dispatch as GroupedLossBackend>::fused_grouped_softmax_loss(
        logits.into_dispatch(),
        labels.without_autodiff().float().into_dispatch(),
        groups.members.without_autodiff().into_dispatch(),
        groups.targets.without_autodiff().float().into_dispatch(),
        weights.without_autodiff().into_dispatch(),
        false,
    );
    Tensor::from_dispatch(losses)
}

/// Every tensor is `f32`: whole numbers up to 2^24 are exact.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait GroupedLossBackend: Backend {
    /// Losses of the rows, `[rows]`, and the gradient of the logits if it is tracked.
    fn fused_grouped_softmax_loss(
        logits: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        members: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        is_tracked: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the logits; `gradient` is that of the losses, `[rows]`.
    fn fused_grouped_softmax_loss_backward(
        saved: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl GroupedLossBackend for Flex {
    fn fused_grouped_softmax_loss(
        logits: FlexTensor,
        labels: FlexTensor,
        members: FlexTensor,
        targets: FlexTensor,
        weights: FlexTensor,
        is_tracked: bool,
    ) -> (FlexTensor, FlexTensor) {
        let [num_rows, num_columns] = logits.shape().dims::<2>();
        let [_, num_labels] = targets.shape().dims::<2>();
        let [labels, members, targets, weights] =
            [labels, members, targets, weights].map(contiguous);
        let groups: Vec<Group> = values(&members)
            .chunks_exact(num_columns.max(1))
            .zip(values(&targets).chunks_exact(num_labels.max(1)))
            .map(|(members, targets)| Group::new(members, targets))
            .collect();
        let labels = columns(values(&labels), num_labels);
        let weights = values(&weights);
        let (losses, gradient, ()) = pass(logits, is_tracked, |logits, losses, gradient| {
            let groups = &groups;
            let labels = &labels;
            let sizes = [num_rows, num_columns];
            let loss = GroupedSoftmax { logits, sizes, groups, labels, weights, losses, gradient };
            loss.run();
        });
        (losses, gradient)
    }

    fn fused_grouped_softmax_loss_backward(saved: FlexTensor, gradient: FlexTensor) -> FlexTensor {
        scale_rows(saved, gradient)
    }
}

#[derive(Debug)]
struct GroupedBackward;

impl<B: GroupedLossBackend> Backward<B, 1> for GroupedBackward {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let gradient = B::fused_grouped_softmax_loss_backward(ops.state, gradient);
        grads.register::<B>(node.id, gradient);
    }
}

impl<B: GroupedLossBackend, C: CheckpointStrategy> GroupedLossBackend for Autodiff<B, C> {
    fn fused_grouped_softmax_loss(
        logits: FloatTensor<Self>,
        labels: FloatTensor<Self>,
        members: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        _is_tracked: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let is_tracked = logits.is_tracked();
        let (logits, node) = logits.into_parts();
        let nothing = weights.clone();
        let (losses, saved) = B::fused_grouped_softmax_loss(
            logits,
            labels.into_primitive(),
            members.into_primitive(),
            targets.into_primitive(),
            weights.into_primitive(),
            is_tracked,
        );
        match GroupedBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => (prepare.finish(saved, losses), nothing),
            OpsKind::UnTracked(prepare) => (prepare.finish(losses), nothing),
        }
    }

    /// A constant: there is no second derivative.
    fn fused_grouped_softmax_loss_backward(
        saved: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (saved, gradient) = (saved.into_primitive(), gradient.into_primitive());
        Self::from_inner(B::fused_grouped_softmax_loss_backward(saved, gradient))
    }
}
