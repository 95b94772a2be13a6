//! Boxes as shifts and scalings of other boxes.

use burn::tensor::{Tensor, assert_shape};
use longtail_types::BBox;

/// Sides are taken to be at least this long, so that an empty box gives finite numbers. It is the
/// shortest side that torchvision's region proposals may have.
const MIN_SIDE: f32 = 1e-3;

/// Encodes a box as `(dx, dy, dw, dh)` relative to a proposal or anchor, and back.
///
/// With centres `(x, y)` and sides `(w, h)` of the box, and `a` for those of the anchor:
/// `dx = wx (x - xa) / wa`, `dy = wy (y - ya) / ha`, `dw = ww ln(w / wa)`, `dh = wh ln(h / ha)`.
/// Source: Girshick et al., CVPR 2014, <https://arxiv.org/abs/1311.2524>, appendix C; numbers as
/// torchvision, but empty boxes count as 0.001 wide or high where torchvision gives infinities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// `[wx, wy, ww, wh]`. Region proposals and RetinaNet use 1, box heads `[10, 10, 5, 5]`.
    pub weights: [f32; 4],
    /// Upper limit of `dw / ww` and `dh / wh` when decoding. Default: `ln(1000 / 16)`.
    pub clamp: f32,
}

impl Default for BoxCoder {
    fn default() -> Self {
        Self::new([1.0; 4])
    }
}

/// Centre and sides.
fn center([start, end]: [f32; 2]) -> (f32, f32) {
    let side = end - start;
    (start + 0.5 * side, side)
}

impl BoxCoder {
    /// A coder with the usual clamp.
    pub fn new(weights: [f32; 4]) -> Self {
        Self { weights, clamp: (1000.0_f64 / 16.0).ln() as f32 }
    }

    /// What to regress at `proposal` to arrive at `gt`.
    pub fn encode(&self, proposal: BBox, gt: BBox) -> [f32; 4] {
        let [wx, wy, ww, wh] = self.weights;
        let axis = |anchor: [f32; 2], gt: [f32; 2], shift: f32, scale: f32| {
            let ((from, from_side), (to, to_side)) = (center(anchor), center(gt));
            let (from_side, to_side) = (from_side.max(MIN_SIDE), to_side.max(MIN_SIDE));
            [shift * (to - from) / from_side, scale * (to_side / from_side).ln()]
        };
        let [dx, dw] = axis([proposal.x1, proposal.x2], [gt.x1, gt.x2], wx, ww);
        let [dy, dh] = axis([proposal.y1, proposal.y2], [gt.y1, gt.y2], wy, wh);
        [dx, dy, dw, dh]
    }

    /// The box that `delta` means at `anchor`. It may reach out of the image.
    pub fn decode(&self, delta: [f32; 4], anchor: BBox) -> BBox {
        let [wx, wy, ww, wh] = self.weights;
        let [dx, dy, dw, dh] = delta;
        let axis = |anchor: [f32; 2], shift: f32, scale: f32| {
            let (from, side) = center(anchor);
            // `min` would hide that a number is none.
            let scale = if scale > self.clamp { self.clamp } else { scale };
            let (middle, half) = (shift * side + from, 0.5 * (scale.exp() * side));
            [middle - half, middle + half]
        };
        let [x1, x2] = axis([anchor.x1, anchor.x2], dx / wx, dw / ww);
        let [y1, y2] = axis([anchor.y1, anchor.y2], dy / wy, dh / wh);
        BBox { x1, y1, x2, y2 }
    }

    /// [`encode`](Self::encode) of every row; gradients flow to both.
    /// # Shapes
    /// - proposals, gt_boxes, output: `[num_boxes, 4]`
    /// # Panics
    /// If the shapes differ.
    pub fn encode_tensor(&self, proposals: Tensor<2>, gt_boxes: Tensor<2>) -> Tensor<2> {
        let [num_boxes, _] = proposals.dims();
        assert_shape!(proposals, [num_boxes, 4]);
        assert_shape!(gt_boxes, [num_boxes, 4]);
        let [shift, scale] = self.weight_pairs(&proposals);
        let (from, from_side) = center_tensor(proposals);
        let (to, to_side) = center_tensor(gt_boxes);
        let from_side = from_side.clamp_min(MIN_SIDE);
        let shifts = (to - from) * shift / from_side.clone();
        let scales = (to_side.clamp_min(MIN_SIDE) / from_side).log() * scale;
        Tensor::cat(vec![shifts, scales], 1)
    }

    /// [`decode`](Self::decode) of every row; gradients flow to both. No gradient flows where the
    /// clamp holds a side.
    /// # Shapes
    /// - deltas, anchors, output: `[num_boxes, 4]`
    /// # Panics
    /// If the shapes differ.
    pub fn decode_tensor(&self, deltas: Tensor<2>, anchors: Tensor<2>) -> Tensor<2> {
        let [num_boxes, _] = deltas.dims();
        assert_shape!(deltas, [num_boxes, 4]);
        assert_shape!(anchors, [num_boxes, 4]);
        let [shift, scale] = self.weight_pairs(&deltas);
        let (from, side) = center_tensor(anchors);
        let shifts = deltas.clone().narrow(1, 0, 2) / shift;
        let scales = (deltas.narrow(1, 2, 2) / scale).clamp_max(self.clamp);
        let middle = shifts * side.clone() + from;
        let half = scales.exp() * side * 0.5;
        Tensor::cat(vec![middle.clone() - half.clone(), middle + half], 1)
    }

    /// `[wx, wy]` and `[ww, wh]` as rows.
    fn weight_pairs(&self, like: &Tensor<2>) -> [Tensor<2>; 2] {
        let [wx, wy, ww, wh] = self.weights;
        [[wx, wy], [ww, wh]].map(|pair| Tensor::from_floats([pair], &like.device()))
    }
}

/// Centres and sides, each `[num_boxes, 2]`.
fn center_tensor(boxes: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let start = boxes.clone().narrow(1, 0, 2);
    let side = boxes.narrow(1, 2, 2) - start.clone();
    (start + side.clone() * 0.5, side)
}
