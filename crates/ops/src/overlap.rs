//! Overlap of boxes as tensors, for losses.

use burn::tensor::{Tensor, assert_shape};

use crate::boxes::{corners, extents};

/// Areas that divide are at least this large, so that empty boxes overlap by 0. Value of
/// torchvision's `generalized_box_iou_loss`.
const MIN_AREA: f32 = 1e-7;

/// Intersection over union (IoU) of every box of `a` with every box of `b`.
/// # Shapes
/// - a: `[num_a, 4]`
/// - b: `[num_b, 4]`
/// - output: `[num_a, num_b]`
/// # Panics
/// If the rows are no boxes.
pub fn pairwise_iou(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    over_all_pairs(a, b, |a, b| Overlap::new(&a, &b).iou())
}

/// Generalized IoU of every box of `a` with every box of `b`; see [`paired_giou`].
/// # Shapes
/// - a: `[num_a, 4]`
/// - b: `[num_b, 4]`
/// - output: `[num_a, num_b]`
/// # Panics
/// If the rows are no boxes.
pub fn pairwise_giou(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    over_all_pairs(a, b, giou)
}

/// Intersection over union (IoU) of each box of `a` with the box of `b` in the same row.
/// # Shapes
/// - a, b: `[num_boxes, 4]`
/// - output: `[num_boxes]`
/// # Panics
/// If the shapes differ.
pub fn paired_iou(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [num_boxes, _] = a.dims();
    assert_shape!(a, [num_boxes, 4]);
    assert_shape!(b, [num_boxes, 4]);
    Overlap::new(&corners(a), &corners(b)).iou().squeeze_dim(1)
}

/// Generalized IoU of each box of `a` with the box of `b` in the same row.
///
/// `IoU - (enclosing - union) / enclosing`, in `[-1, 1]`, where `enclosing` is the area of the
/// smallest box around both: it tells how far apart boxes are that do not overlap.
/// Source: Rezatofighi et al., CVPR 2019, <https://arxiv.org/abs/1902.09630>.
/// # Shapes
/// - a, b: `[num_boxes, 4]`
/// - output: `[num_boxes]`
/// # Panics
/// If the shapes differ.
pub fn paired_giou(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [num_boxes, _] = a.dims();
    assert_shape!(a, [num_boxes, 4]);
    assert_shape!(b, [num_boxes, 4]);
    giou(corners(a), corners(b)).squeeze_dim(1)
}

/// `1 - `[`paired_giou`]: the loss of each row.
/// # Shapes
/// - boxes, gt_boxes: `[num_boxes, 4]`
/// - output: `[num_boxes]`
/// # Panics
/// If the shapes differ.
pub fn giou_loss(boxes: Tensor<2>, gt_boxes: Tensor<2>) -> Tensor<1> {
    1.0 - paired_giou(boxes, gt_boxes)
}

type Corners = [Tensor<2>; 4];

/// Calls `measure` with the corners of `a` as columns and those of `b` as rows.
fn over_all_pairs(
    a: Tensor<2>,
    b: Tensor<2>,
    measure: fn(Corners, Corners) -> Tensor<2>,
) -> Tensor<2> {
    let ([num_a, _], [num_b, _]) = (a.dims(), b.dims());
    assert_shape!(a, [num_a, 4]);
    assert_shape!(b, [num_b, 4]);
    if num_a * num_b == 0 {
        return Tensor::zeros([num_a, num_b], &a.device()); // not every operation takes no values
    }
    measure(corners(a), corners(b).map(Tensor::transpose))
}

fn giou(a: Corners, b: Corners) -> Tensor<2> {
    let overlap = Overlap::new(&a, &b);
    let ([ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]) = (a, b);
    let around = [smaller(ax1, bx1), smaller(ay1, by1), larger(ax2, bx2), larger(ay2, by2)];
    let [width, height] = extents(around);
    let enclosing = width * height;
    let empty = (enclosing.clone() - overlap.union.clone()) / enclosing.clamp_min(MIN_AREA);
    overlap.iou() - empty
}

struct Overlap {
    intersection: Tensor<2>,
    union: Tensor<2>,
}

impl Overlap {
    fn new(a: &Corners, b: &Corners) -> Self {
        let ([ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]) = (a.clone(), b.clone());
        let shared = [larger(ax1, bx1), larger(ay1, by1), smaller(ax2, bx2), smaller(ay2, by2)];
        let area = |[width, height]: [Tensor<2>; 2]| width * height;
        let intersection = area(extents(shared));
        let areas = area(extents(a.clone())) + area(extents(b.clone()));
        Self { union: areas - intersection.clone(), intersection }
    }

    fn iou(self) -> Tensor<2> {
        self.intersection / self.union.clamp_min(MIN_AREA)
    }
}

/// The larger one of each two values, with broadcasting.
fn larger(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let (a, b) = same_shape(a, b);
    a.max_pair(b)
}

/// The smaller one of each two values, with broadcasting.
fn smaller(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let (a, b) = same_shape(a, b);
    a.min_pair(b)
}

fn same_shape(a: Tensor<2>, b: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let (from, to) = (a.dims(), b.dims());
    if from == to {
        return (a, b);
    }
    let shape = [from[0].max(to[0]), from[1].max(to[1])];
    (a.expand(shape), b.expand(shape))
}
