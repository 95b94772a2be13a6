//! Areas and borders of boxes as tensors.

use burn::tensor::{Tensor, assert_shape};

/// Area of each box; 0 for a box turned inside out.
/// # Shapes
/// - boxes: `[num_boxes, 4]`
/// - output: `[num_boxes]`
/// # Panics
/// If the rows are no boxes.
pub fn box_area(boxes: Tensor<2>) -> Tensor<1> {
    let [num_boxes, _] = boxes.dims();
    assert_shape!(boxes, [num_boxes, 4]);
    let [width, height] = extents(corners(boxes));
    (width * height).squeeze_dim(1)
}

/// The part of each box inside an image of `[height, width]`.
/// # Shapes
/// - boxes, output: `[num_boxes, 4]`
/// # Panics
/// If the rows are no boxes.
pub fn clip_boxes(boxes: Tensor<2>, [height, width]: [usize; 2]) -> Tensor<2> {
    let [num_boxes, _] = boxes.dims();
    assert_shape!(boxes, [num_boxes, 4]);
    let [x1, y1, x2, y2] = corners(boxes);
    let [width, height] = [width as f32, height as f32];
    let inside =
        [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)];
    Tensor::cat(inside.to_vec(), 1)
}

/// `x1`, `y1`, `x2`, `y2`, each `[num_boxes, 1]`.
pub(crate) fn corners(boxes: Tensor<2>) -> [Tensor<2>; 4] {
    [0, 1, 2, 3].map(|column| boxes.clone().narrow(1, column, 1))
}

/// Widths and heights, not below 0.
pub(crate) fn extents([x1, y1, x2, y2]: [Tensor<2>; 4]) -> [Tensor<2>; 2] {
    [(x2 - x1).clamp_min(0.0), (y2 - y1).clamp_min(0.0)]
}
