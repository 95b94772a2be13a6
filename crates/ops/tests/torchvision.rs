//! Everything against numbers of torchvision, written by xtask/reference/ops.py.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Tensor, TensorData};
use longtail_kernels::{Roi, RoiAlignOptions, composed, roi_align};
use longtail_ops::{
    AnchorGenerator, BalancedSampler, BoxCoder, Match, Matcher, RoiAligner, batched_nms, box_area,
    clip_boxes, giou_loss, mask_targets, nms, pairwise_giou, pairwise_iou, paste_mask,
};
use longtail_testing::{assert_close, device, values};
use longtail_types::{BBox, KeyedRng, Mask, Stream};
use serde_json::Value;

fn reference(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("data/torchvision.json")).unwrap();
    all[part].clone()
}

/// All numbers of nested lists.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap()],
    }
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|value| value as f32).collect()
}

fn integers(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|value| value as usize).collect()
}

fn boxes(value: &Value) -> Vec<BBox> {
    singles(value).as_chunks().0.iter().map(|&corners: &[f32; 4]| corners.into()).collect()
}

/// Rows of four, with a gradient.
fn tracked(value: &Value) -> Tensor<2> {
    let values = singles(value);
    let rows = values.len() / 4;
    tensor(values, [rows, 4])
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &device().autodiff()).require_grad()
}

/// The upstream gradients and features of the script.
fn wave<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let at = |index: usize| {
        let index = index as f64;
        (index * 0.7 + (index * 0.13).cos() * 3.0).sin() as f32
    };
    tensor((0..shape.iter().product()).map(at).collect(), shape)
}

fn check<const D: usize>(name: &str, output: Tensor<D>, inputs: &[&Tensor<2>], expected: &Value) {
    let grads = (output.clone() * wave(output.dims())).sum().backward();
    assert_close(name, &values(output), &numbers(&expected["output"]), 2e-6);
    let expected = expected["gradients"].as_array().unwrap();
    assert_eq!(inputs.len(), expected.len());
    for (input, expected) in inputs.iter().zip(expected) {
        let gradient = values(input.grad(&grads).unwrap());
        assert_close(name, &gradient, &numbers(expected), 5e-6);
    }
}

#[test]
fn anchors() {
    let expected = reference("anchors");
    let sizes: Vec<[usize; 2]> = integers(&expected["feature_sizes"]).as_chunks().0.to_vec();
    let image_size = [33, 50];
    for (name, generator) in [
        ("faster_rcnn", AnchorGenerator::faster_rcnn()),
        ("retinanet", AnchorGenerator::retinanet()),
    ] {
        let anchors = generator.anchors(image_size, &sizes);
        for (level, (anchors, [height, width])) in anchors.iter().zip(&sizes).enumerate() {
            assert_eq!(anchors.len(), height * width * generator.num_anchors(level));
        }
        assert_eq!(anchors.concat(), boxes(&expected[name]), "{name}");
    }
}

#[test]
fn box_coder() {
    let expected = reference("coder");
    let coder = BoxCoder::new([10.0, 10.0, 5.0, 5.0]);
    let (proposals, gt) = (boxes(&expected["proposals"]), boxes(&expected["gt"]));
    let pairs = proposals.iter().zip(&gt);
    let codes: Vec<f32> = pairs.flat_map(|(p, gt)| coder.encode(*p, *gt)).collect();
    assert_close("codes", &codes, &numbers(&expected["codes"]), 1e-6);
    let deltas = singles(&expected["deltas"]);
    let pairs = deltas.as_chunks().0.iter().zip(&proposals);
    let decoded: Vec<f32> = pairs.flat_map(|(d, p)| coder.decode(*d, *p).to_array()).collect();
    assert_close("decoded", &decoded, &numbers(&expected["decoded"]), 1e-6);

    let (proposals, gt) = (tracked(&expected["proposals"]), tracked(&expected["gt"]));
    let wanted = serde_json::json!({
        "output": expected["codes"], "gradients": expected["encode_gradients"],
    });
    let codes = coder.encode_tensor(proposals.clone(), gt.clone());
    check("encode", codes, &[&proposals, &gt], &wanted);
    let (deltas, proposals) = (tracked(&expected["deltas"]), tracked(&expected["proposals"]));
    let wanted = serde_json::json!({
        "output": expected["decoded"], "gradients": expected["decode_gradients"],
    });
    let decoded = coder.decode_tensor(deltas.clone(), proposals.clone());
    check("decode", decoded, &[&deltas, &proposals], &wanted);
}

#[test]
fn matcher() {
    let expected = reference("matcher");
    let (gt, boxes) = (boxes(&expected["gt"]), boxes(&expected["boxes"]));
    for case in expected["cases"].as_array().unwrap() {
        let matcher = Matcher {
            high: case["high"].as_f64().unwrap() as f32,
            low: case["low"].as_f64().unwrap() as f32,
            allow_low_quality: case["allow_low_quality"].as_bool().unwrap(),
        };
        let kinds = matcher.match_boxes(&gt, &boxes).into_iter().map(|kind| match kind {
            Match::Positive(index) => index as f64,
            Match::Negative => -1.0,
            Match::Ignored => -2.0,
        });
        assert_eq!(kinds.collect::<Vec<_>>(), numbers(&case["matches"]), "{matcher:?}");
    }
}

#[test]
fn sampler_counts() {
    for case in reference("sampler").as_array().unwrap() {
        let case = integers(case);
        let mut matches = vec![Match::Positive(0); case[0]];
        matches.extend(vec![Match::Negative; case[1]]);
        matches.extend(vec![Match::Ignored; 30]);
        let mut rng = KeyedRng::new(1, Stream::Anchors, 0, 0);
        let sampled =
            BalancedSampler { num: 256, positive_fraction: 0.5 }.sample(&matches, &mut rng);
        assert_eq!([sampled.positives.len(), sampled.negatives.len()], case[2..]);
    }
}

#[test]
fn suppression() {
    let expected = reference("suppression");
    let (boxes, scores) = (boxes(&expected["boxes"]), singles(&expected["scores"]));
    let groups: Vec<u32> = integers(&expected["groups"]).iter().map(|&g| g as u32).collect();
    for threshold in ["0.3", "0.5", "0.7"] {
        let iou = threshold.parse().unwrap();
        assert_eq!(nms(&boxes, &scores, iou), integers(&expected["nms"][threshold]));
        let kept = batched_nms(&boxes, &scores, &groups, iou);
        assert_eq!(kept, integers(&expected["batched"][threshold]));
    }
}

#[test]
fn overlaps() {
    let expected = reference("overlaps");
    let one = |name: &str, function: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let first = tracked(&expected["first"]);
        check(name, function(first.clone()), &[&first], &expected[name]);
    };
    one("clip", &|boxes| clip_boxes(boxes, [30, 45]));
    let first = tracked(&expected["first"]);
    check("area", box_area(first.clone()), &[&first], &expected["area"]);
    let two = |name: &str, function: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
        let (first, second) = (tracked(&expected["first"]), tracked(&expected["second"]));
        let output = function(first.clone(), second.clone());
        check(name, output, &[&first, &second], &expected[name]);
    };
    two("iou", pairwise_iou);
    two("giou", pairwise_giou);
    let (first, paired) = (tracked(&expected["first"]), tracked(&expected["paired"]));
    let loss = giou_loss(first.clone(), paired.clone());
    check("giou_loss", loss, &[&first, &paired], &expected["giou_loss"]);
}

#[test]
fn pooling() {
    let expected = reference("pooling");
    let shapes = integers(&expected["shapes"]);
    let shapes = shapes.as_chunks::<4>().0;
    let rois: Vec<Roi> = singles(&expected["rois"])
        .as_chunks::<6>()
        .0
        .iter()
        .map(|&[image, level, x1, y1, x2, y2]| Roi {
            image: image as usize,
            level: level as usize,
            bbox: [x1, y1, x2, y2],
        })
        .collect();
    for case in expected["cases"].as_array().unwrap() {
        let options = RoiAlignOptions {
            output_size: [3, 4],
            scales: singles(&expected["scales"]),
            sampling_ratio: case["sampling_ratio"].as_u64().map(|ratio| ratio as usize),
            aligned: case["aligned"].as_bool().unwrap(),
        };
        for (form, roi_align) in [
            ("chosen", roi_align as fn(&[Tensor<4>], &[Roi], &RoiAlignOptions) -> Tensor<4>),
            ("composed", composed::roi_align),
        ] {
            let maps: Vec<Tensor<4>> = shapes.iter().map(|&shape| wave(shape)).collect();
            let output = roi_align(&maps, &rois, &options);
            let grads = (output.clone() * wave(output.dims())).sum().backward();
            let name = format!("{form} {options:?}");
            assert_close(&name, &values(output), &numbers(&case["output"]), 2e-6);
            let Some(gradients) = case["gradients"].as_array() else { continue };
            for (map, expected) in maps.iter().zip(gradients) {
                let gradient = values(map.grad(&grads).unwrap());
                assert_close(&name, &gradient, &numbers(expected), 2e-6);
            }
        }
    }
}

#[test]
fn pyramid() {
    let expected = reference("pyramid");
    let aligner = RoiAligner::new(7);
    let levels: Vec<usize> =
        boxes(&expected["squares"]).iter().map(|&bbox| aligner.level(bbox)).collect();
    assert_eq!(levels, integers(&expected["levels"]));
    let maps: Vec<Tensor<4>> = (0..4).map(|level| wave([2, 1, 32 >> level, 32 >> level])).collect();
    let rois: Vec<Vec<BBox>> = expected["rois"].as_array().unwrap().iter().map(boxes).collect();
    let output = aligner.forward(&maps, &rois);
    assert_eq!(output.dims(), [6, 1, 7, 7]);
    assert_close("pyramid", &values(output), &numbers(&expected["output"]), 2e-6);
    assert_eq!(aligner.forward(&maps, &[vec![], vec![]]).dims(), [0, 1, 7, 7]);
}

#[test]
fn masks() {
    let expected = reference("masks");
    let image_size = [40, 48];
    let text = |value: &Value| -> Vec<bool> {
        value.as_str().unwrap().bytes().map(|byte| byte == b'1').collect()
    };
    let whole: Vec<Mask> = expected["pixels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pixels| Mask::new([0, 0], image_size, text(pixels)).unwrap())
        .collect();
    let windows: Vec<Mask> = whole.iter().map(window).collect();
    let rois = boxes(&expected["rois"]);
    for masks in [&whole, &windows] {
        let matched: Vec<&Mask> =
            integers(&expected["matched"]).iter().map(|&index| &masks[index]).collect();
        let targets = mask_targets(&matched, &rois, image_size, 7);
        assert_close("targets", &targets, &numbers(&expected["targets"]), 2e-6);
    }
    let probabilities = wave([rois.len(), 1, 7, 7]) * 4.0 + 1.0;
    let probabilities = values(burn::tensor::activation::sigmoid(probabilities));
    let expected = expected["pasted"].as_array().unwrap();
    for ((probabilities, roi), pixels) in probabilities.chunks(49).zip(&rois).zip(expected) {
        let mask = paste_mask(probabilities, *roi, image_size, 0.5);
        let pasted: Vec<bool> =
            (0..40 * 48).map(|index| mask.get(index % 48, index / 48)).collect();
        assert_eq!(pasted, text(pixels), "{roi:?}");
    }
}

/// The same pixels in the smallest window.
fn window(mask: &Mask) -> Mask {
    let BBox { x1, y1, x2, y2 } = mask.bounding_box().unwrap();
    let [left, top] = [x1 as usize, y1 as usize];
    let [right, bottom] = [x2 as usize, y2 as usize];
    let rows = top..bottom;
    let pixels = rows.flat_map(|y| (left..right).map(move |x| mask.get(x, y))).collect();
    Mask::new([left, top], [bottom - top, right - left], pixels).unwrap()
}
