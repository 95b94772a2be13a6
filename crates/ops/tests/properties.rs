//! What must hold for any boxes, and for none.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Tensor, TensorData};
use longtail_ops::{
    BoxCoder, box_area, clip_boxes, giou_loss, mask_targets, paired_giou, paired_iou,
    pairwise_giou, pairwise_iou, paste_mask,
};
use longtail_testing::{device, values};
use longtail_types::{BBox, KeyedRng, Mask, Stream};

fn random_boxes(count: usize, seed: u64) -> Vec<BBox> {
    let mut rng = KeyedRng::new(seed, Stream::Synthetic, 0, 0);
    let mut at = |low: f64, high: f64| rng.uniform(low, high) as f32;
    let boxes = (0..count).map(|_| [at(-5.0, 20.0), at(-5.0, 20.0), at(1.0, 20.0), at(1.0, 20.0)]);
    boxes.map(BBox::from_xywh).collect()
}

fn tensor(boxes: &[BBox]) -> Tensor<2> {
    let numbers: Vec<f32> = boxes.iter().flat_map(|bbox| bbox.to_array()).collect();
    Tensor::from_data(TensorData::new(numbers, [boxes.len(), 4]), &device().autodiff())
}

fn close(actual: f32, expected: f32, tolerance: f32) -> bool {
    (actual - expected).abs() <= tolerance * expected.abs().max(1.0)
}

/// `(IoU, generalized IoU)` from the definition.
fn overlap(a: BBox, b: BBox) -> (f32, f32) {
    let width = a.x2.max(b.x2) - a.x1.min(b.x1);
    let height = a.y2.max(b.y2) - a.y1.min(b.y1);
    let shared_width = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0);
    let shared_height = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
    let shared = shared_width * shared_height;
    let union = a.area() + b.area() - shared;
    let iou = if union > 0.0 { shared / union } else { 0.0 };
    let enclosing = width * height;
    (iou, if enclosing > 0.0 { iou - (enclosing - union) / enclosing } else { iou })
}

#[test]
fn overlaps_match_slow_loops() {
    let mut a = random_boxes(9, 1);
    let mut b = random_boxes(14, 2);
    let point = BBox::new(3.0, 4.0, 3.0, 4.0);
    a.extend([point, BBox::new(0.0, 0.0, 1.0, 1.0), b[0]]);
    b.extend([point, BBox::new(1.0, 0.0, 2.0, 1.0)]);
    let iou = values(pairwise_iou(tensor(&a), tensor(&b)));
    let giou = values(pairwise_giou(tensor(&a), tensor(&b)));
    let turned = values(pairwise_giou(tensor(&b), tensor(&a)));
    for (row, &first) in a.iter().enumerate() {
        for (column, &second) in b.iter().enumerate() {
            let index = row * b.len() + column;
            let expected = overlap(first, second);
            assert!(
                close(iou[index], expected.0, 1e-6) && close(iou[index], first.iou(second), 1e-6)
            );
            assert!(close(giou[index], expected.1, 2e-6), "{first:?} {second:?}");
            assert!((-1.0..=1.0).contains(&giou[index]) && giou[index] <= iou[index] + 1e-6);
            assert_eq!(giou[index], turned[column * a.len() + row]);
        }
    }
    let paired = values(paired_giou(tensor(&a), tensor(&b[..a.len()])));
    let diagonal: Vec<f32> = (0..a.len()).map(|row| giou[row * b.len() + row]).collect();
    assert_eq!(paired, diagonal);
    let paired = values(paired_iou(tensor(&a), tensor(&b[..a.len()])));
    let diagonal: Vec<f32> = (0..a.len()).map(|row| iou[row * b.len() + row]).collect();
    assert_eq!(paired, diagonal);
    let loss = values(giou_loss(tensor(&a), tensor(&a)));
    assert!(loss[..9].iter().all(|&loss| loss.abs() < 1e-6), "{loss:?}");
}

#[test]
fn areas_and_borders_match_host_boxes() {
    let mut boxes = random_boxes(20, 3);
    boxes.extend([BBox::new(9.0, 9.0, 3.0, 3.0), BBox::default()]);
    let expected: Vec<f32> = boxes.iter().map(|bbox| bbox.area()).collect();
    assert_eq!(values(box_area(tensor(&boxes))), expected);
    let expected: Vec<f32> = boxes.iter().flat_map(|b| b.clip([15, 12]).to_array()).collect();
    assert_eq!(values(clip_boxes(tensor(&boxes), [15, 12])), expected);
}

#[test]
fn decoding_turns_encoding_back() {
    for weights in [[1.0; 4], [10.0, 10.0, 5.0, 5.0]] {
        let coder = BoxCoder::new(weights);
        let (from, to) = (random_boxes(100, 4), random_boxes(100, 5));
        let decoded =
            coder.decode_tensor(coder.encode_tensor(tensor(&from), tensor(&to)), tensor(&from));
        let decoded = values(decoded);
        for (index, (&anchor, &gt)) in from.iter().zip(&to).enumerate() {
            let delta = coder.encode(anchor, gt);
            let back = coder.decode(delta, anchor).to_array();
            for (corner, expected) in gt.to_array().into_iter().enumerate() {
                assert!(close(back[corner], expected, 1e-5), "{anchor:?} {gt:?} {back:?}");
                assert!(close(decoded[index * 4 + corner], expected, 1e-5));
            }
            assert!(close(coder.decode([0.0; 4], gt).area(), gt.area(), 1e-5));
        }
    }
}

#[test]
fn coder_with_odd_boxes() {
    let coder = BoxCoder::default();
    let (point, bbox) = (BBox::new(2.0, 2.0, 2.0, 2.0), BBox::new(0.0, 0.0, 4.0, 4.0));
    for (from, to) in [(point, bbox), (bbox, point), (point, point)] {
        let code = coder.encode(from, to);
        assert!(code.iter().all(|value| value.is_finite()), "{code:?}");
        assert_eq!(values(coder.encode_tensor(tensor(&[from]), tensor(&[to]))), code);
    }
    // 62.5 times as wide at most.
    assert!(close(coder.decode([0.0, 0.0, 99.0, f32::INFINITY], bbox).width(), 250.0, 1e-5));
    assert!(coder.decode([f32::NAN; 4], bbox).is_empty());
    assert!(coder.decode([0.0, 0.0, f32::NAN, 0.0], bbox).is_empty());
}

#[test]
fn nothing_in_nothing_out() {
    let (none, some) = (tensor(&[]), tensor(&random_boxes(3, 6)));
    assert_eq!(pairwise_iou(none.clone(), some.clone()).dims(), [0, 3]);
    assert_eq!(pairwise_giou(some.clone(), none.clone()).dims(), [3, 0]);
    assert_eq!(giou_loss(none.clone(), none.clone()).dims(), [0]);
    assert_eq!(box_area(none.clone()).dims(), [0]);
    assert_eq!(clip_boxes(none.clone(), [3, 3]).dims(), [0, 4]);
    let coder = BoxCoder::default();
    assert_eq!(coder.encode_tensor(none.clone(), none.clone()).dims(), [0, 4]);
    assert_eq!(coder.decode_tensor(none.clone(), none).dims(), [0, 4]);
}

/// Slopes of `function` at every coordinate of `boxes`, against its gradient.
fn check_slopes(name: &str, boxes: &[BBox], function: &dyn Fn(Tensor<2>) -> Tensor<1>) {
    let tracked = tensor(boxes).require_grad();
    let grads = function(tracked.clone()).sum().backward();
    let gradient = values(tracked.grad(&grads).unwrap());
    for (index, &gradient) in gradient.iter().enumerate() {
        let at = |step: f32| {
            let mut moved = boxes.to_vec();
            let mut corners = moved[index / 4].to_array();
            corners[index % 4] += step;
            moved[index / 4] = corners.into();
            values(function(tensor(&moved)).sum())[0]
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        let error = (slope - gradient).abs();
        assert!(error <= 2e-3 * gradient.abs().max(1.0), "{name} {index}: {slope} {gradient}");
    }
}

#[test]
fn gradients_match_central_differences() {
    let (boxes, others) = (random_boxes(6, 7), random_boxes(6, 8));
    let other = || tensor(&others);
    let coder = BoxCoder::new([10.0, 10.0, 5.0, 5.0]);
    let deltas: Vec<BBox> =
        boxes.iter().map(|bbox| bbox.to_array().map(|corner| corner / 10.0).into()).collect();
    check_slopes("area", &boxes, &|x| box_area(x) / 10.0);
    check_slopes("clip", &boxes, &|x| clip_boxes(x, [18, 16]).sum());
    check_slopes("iou", &boxes, &|x| pairwise_iou(x, other()).sum());
    check_slopes("giou", &boxes, &|x| pairwise_giou(other(), x).sum());
    check_slopes("loss", &boxes, &|x| giou_loss(x, other()));
    check_slopes("encode", &boxes, &|x| coder.encode_tensor(x, other()).sum() / 10.0);
    check_slopes("decode", &deltas, &|x| coder.decode_tensor(x, other()).sum() / 10.0);
}

#[test]
fn gradients_stay_finite_at_odd_boxes() {
    let point = BBox::new(2.0, 2.0, 2.0, 2.0);
    let turned = BBox::new(5.0, 5.0, 1.0, 1.0);
    let odd = [point, point, turned, BBox::new(0.0, 0.0, 1.0, 1.0)];
    let others = [point, turned, turned, BBox::new(0.0, 0.0, 1.0, 1.0)];
    let boxes = tensor(&odd).require_grad();
    let loss = giou_loss(boxes.clone(), tensor(&others)).sum()
        + pairwise_iou(boxes.clone(), tensor(&others)).sum()
        + BoxCoder::default().encode_tensor(boxes.clone(), tensor(&others)).sum();
    let grads = loss.clone().backward();
    let gradient = values(boxes.grad(&grads).unwrap());
    assert!(values(loss)[0].is_finite() && gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
}

#[test]
fn masks_beside_and_beyond_the_image() {
    let ones = [1.0; 9];
    assert_eq!(paste_mask(&ones, BBox::new(50.0, 3.0, 60.0, 9.0), [20, 30], 0.5).area(), 0);
    assert_eq!(paste_mask(&ones, BBox::new(-60.0, -9.0, -50.0, -3.0), [20, 30], 0.5).area(), 0);
    assert_eq!(paste_mask(&ones, BBox::new(-1e9, -1e9, 1e9, 1e9), [20, 30], 0.5).area(), 600);
    let broken = [f32::NAN, 0.0, f32::INFINITY, 4.0];
    assert!(paste_mask(&ones, broken.into(), [20, 30], 0.5).area() <= 600);
    assert_eq!(paste_mask(&[], BBox::new(0.0, 0.0, 5.0, 5.0), [20, 30], 0.5), Mask::default());
    assert_eq!(paste_mask(&ones, BBox::new(0.0, 0.0, 5.0, 5.0), [0, 0], 0.5).area(), 0);

    let mask = Mask::new([2, 3], [2, 2], vec![true; 4]).unwrap();
    let outside = BBox::new(100.0, 100.0, 120.0, 120.0);
    assert_eq!(mask_targets(&[&mask], &[outside], [20, 30], 3), [0.0; 9]);
    assert_eq!(mask_targets(&[&mask], &[broken.into()], [20, 30], 3), [0.0; 9]);
    assert_eq!(
        mask_targets(&[&Mask::default()], &[mask.bounding_box().unwrap()], [20, 30], 2),
        [0.0; 4]
    );
    assert!(mask_targets(&[], &[], [20, 30], 28).is_empty());
    assert!(mask_targets(&[&mask], &[outside], [20, 30], 0).is_empty());
    let all = Mask::new([0, 0], [20, 30], vec![true; 600]).unwrap();
    let inside = mask_targets(&[&all], &[BBox::new(1.0, 2.0, 30.0, 20.0)], [20, 30], 4);
    assert!(inside.iter().all(|&share| (share - 1.0).abs() < 1e-6));
}
