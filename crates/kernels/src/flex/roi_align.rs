//! The operation of RoIAlign: one level after the other, and the way back.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};

pub(crate) use super::level_rois::LevelRois;
use super::pool::Buffer;
use super::tensor::{contiguous, values};
use crate::{Roi, RoiAlignOptions};

/// Pools from one level after the other into the rows of one output.
pub(crate) fn roi_align(
    features: &[Tensor<4>],
    rois: &[Roi],
    options: &RoiAlignOptions,
) -> Tensor<4> {
    let level = |level: usize| {
        let map = features[level].clone();
        let rois = LevelRois::new(rois, level, map.dims(), options);
        (map.into_dispatch(), rois)
    };
    let (map, of_map) = level(0);
    let mut output = <Dispatch as RoiBackend>::fused_roi_align(map, of_map);
    for index in 1..features.len() {
        let (map, of_map) = level(index);
        output = <Dispatch as RoiBackend>::fused_roi_align_onto(output, map, of_map);
    }
    Tensor::from_dispatch(output)
}

#[backend_extension(Autodiff, Flex)]
pub(crate) trait RoiBackend: Backend {
    /// A new output of which the RoIs of this level are filled, the rest is anything.
    fn fused_roi_align(features: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self>;

    /// Fills the RoIs of this level too.
    fn fused_roi_align_onto(
        output: FloatTensor<Self>,
        features: FloatTensor<Self>,
        rois: LevelRois,
    ) -> FloatTensor<Self>;
}

impl RoiBackend for Flex {
    fn fused_roi_align(features: FlexTensor, rois: LevelRois) -> FlexTensor {
        let features = contiguous(features);
        let mut output = Buffer::new(rois.output.iter().product());
        rois.forward(values(&features), output.as_mut_slice());
        output.into_tensor(Shape::new(rois.output))
    }

    fn fused_roi_align_onto(
        output: FlexTensor,
        features: FlexTensor,
        rois: LevelRois,
    ) -> FlexTensor {
        let (mut output, features) = (contiguous(output), contiguous(features));
        rois.forward(values(&features), output.storage_mut::<f32>());
        output
    }
}

/// Parents: features and, with `N = 2`, the output of the levels before. The latter gets the whole
/// gradient, since it reads the rows of its own levels only.
#[derive(Debug)]
struct RoiAlignBackward;

impl<const N: usize> Backward<Flex, N> for RoiAlignBackward {
    type State = LevelRois;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = contiguous(grads.consume::<Flex>(&ops.node));
        let parents = ops.parents.each_ref().map(Option::as_ref);
        if let Some(node) = parents[0] {
            grads.register::<Flex>(node.id, ops.state.backward(values(&gradient)));
        }
        if let Some(node) = parents.get(1).copied().flatten() {
            grads.register::<Flex>(node.id, gradient);
        }
    }
}

impl<C: CheckpointStrategy> RoiBackend for Autodiff<Flex, C> {
    fn fused_roi_align(features: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self> {
        let (features, node) = features.into_parts();
        let output = Flex::fused_roi_align(features, rois.clone());
        match RoiAlignBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => prepare.finish(rois, output),
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    fn fused_roi_align_onto(
        output: FloatTensor<Self>,
        features: FloatTensor<Self>,
        rois: LevelRois,
    ) -> FloatTensor<Self> {
        let (output, output_node) = output.into_parts();
        let (features, node) = features.into_parts();
        let output = Flex::fused_roi_align_onto(output, features, rois.clone());
        match RoiAlignBackward.prepare::<C>([node, output_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => prepare.finish(rois, output),
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }
}
