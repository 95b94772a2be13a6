//! The backend extension of RoIAlign: one level after the other, and the way back.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::level_rois::LevelRois;
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

#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Remote: cfg(feature = "remote"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait RoiBackend: Backend {
    /// A new output of which the RoIs of this level are filled, the rest is anything.
    #[fusion(dtype = features, shape = LevelRois::output_shape(rois))]
    fn fused_roi_align(features: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self>;

    /// Fills the RoIs of this level too.
    #[fusion(dtype = output, shape = output)]
    fn fused_roi_align_onto(
        output: FloatTensor<Self>,
        features: FloatTensor<Self>,
        rois: LevelRois,
    ) -> FloatTensor<Self>;

    /// The gradient of the features of this level.
    #[fusion(dtype = gradient, shape = LevelRois::features_shape(rois))]
    fn fused_roi_align_backward(gradient: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self>;
}

/// Parents: features and, with `N = 2`, the output of the levels before. The latter gets the whole
/// gradient, since it reads the rows of its own levels only.
#[derive(Debug)]
struct RoiAlignBackward;

impl<B: RoiBackend, const N: usize> Backward<B, N> for RoiAlignBackward {
    type State = LevelRois;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let parents = ops.parents.each_ref().map(Option::as_ref);
        if let Some(node) = parents[0] {
            let features = B::fused_roi_align_backward(gradient.clone(), ops.state);
            grads.register::<B>(node.id, features);
        }
        if let Some(node) = parents.get(1).copied().flatten() {
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: RoiBackend, C: CheckpointStrategy> RoiBackend for Autodiff<B, C> {
    fn fused_roi_align(features: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self> {
        let (features, node) = features.into_parts();
        let output = B::fused_roi_align(features, rois.clone());
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
        let output = B::fused_roi_align_onto(output, features, rois.clone());
        match RoiAlignBackward.prepare::<C>([node, output_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => prepare.finish(rois, output),
            OpsKind::UnTracked(prepare) => prepare.finish(output),
        }
    }

    /// A constant: there is no second derivative.
    fn fused_roi_align_backward(gradient: FloatTensor<Self>, rois: LevelRois) -> FloatTensor<Self> {
        let (gradient, _) = gradient.into_parts();
        Self::from_inner(B::fused_roi_align_backward(gradient, rois))
    }
}
