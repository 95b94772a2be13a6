//! Faster and Mask R-CNN against torchvision's numbers on weights from a formula.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/formula.rs"]
mod formula;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use common::{numbers, reference, value, weights};
use formula::{
    assert_detections, assert_gradients, assert_losses, assert_pyramid, detector_weights, filled,
    gain, gradient_norms, image, targets,
};
use longtail_losses::{ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig};
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, DetectionConfig, Detector,
    DetectorBackboneConfig, DetectorConfig, FasterRcnnConfig, FpnConfig, MaskHeadConfig,
    MaskRcnnConfig, NormConfig, ProposalLimits, RawDetection, RoiSamplingConfig, RpnConfig,
    StepKey,
};
use longtail_ops::ImageBatch;
use longtail_testing::development_data;
use longtail_types::{BBox, ClassCounts, Instance, Mask};
use serde_json::{Value, json};

const KEY: StepKey = StepKey { seed: 0, step: 0, first_image: 0 };

/// torchvision's name of a parameter.
fn rename(path: &str) -> String {
    path.replace("roi_heads.stages.0.", "roi_heads.").replace("roi_heads.masks.", "roi_heads.")
}

/// Background is torchvision's first group of rows and our last.
fn background_last(name: &str, mut values: Vec<f32>, num_columns: usize) -> Vec<f32> {
    if name.contains("box_predictor") || name.contains("mask_fcn_logits") {
        let group = values.len() / num_columns;
        values.rotate_left(group);
    }
    values
}

/// A classifier of `num_columns` columns, the last one background.
fn loss(num_columns: usize, device: &Device) -> ClassificationLoss {
    let counts = ClassCounts::from_labels(0..num_columns - 1, num_columns - 1).unwrap();
    let config = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig { background: true });
    config.init(&counts, device).unwrap()
}

/// The settings of the reference: trainable batch norms on running statistics, every anchor and
/// region in the losses, every score a detection.
fn faster_rcnn() -> FasterRcnnConfig {
    FasterRcnnConfig {
        backbone: DetectorBackboneConfig {
            norm: NormConfig::running(),
            frozen_stages: 0,
            ..Default::default()
        },
        rpn: RpnConfig { anchors_per_image: 1_000_000, ..Default::default() },
        rois: RoiSamplingConfig { per_image: 1_000_000, ..Default::default() },
        detection: DetectionConfig {
            score_threshold: 0.0,
            max_per_image: 200,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn mask_rcnn() -> MaskRcnnConfig {
    let FasterRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, .. } =
        faster_rcnn();
    let mask_head = Default::default();
    let mask = MaskRcnnConfig::default();
    MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, mask_head, detection, ..mask }
}

/// Mean over the image of torchvision's soft mask: a border of one bin, the box rounded to pixels,
/// bilinear interpolation.
fn mask_mean(mask: &[f32], bbox: [f64; 4], [height, width]: [usize; 2]) -> f64 {
    let size = mask.len().isqrt();
    let padded = size as i64 + 2;
    let at = |y: i64, x: i64| {
        let is_inside = (1..padded - 1).contains(&y) && (1..padded - 1).contains(&x);
        if is_inside { f64::from(mask[(y as usize - 1) * size + x as usize - 1]) } else { 0.0 }
    };
    let scale = padded as f64 / size as f64;
    let axis = |start: f64, end: f64| {
        let (half, center) = ((end - start) * 0.5 * scale, (end + start) * 0.5);
        ((center - half) as i64, (center + half) as i64)
    };
    let ((x1, x2), (y1, y2)) = (axis(bbox[0], bbox[2]), axis(bbox[1], bbox[3]));
    let source = |pixel: i64, start: i64, end: i64| {
        let length = (end - start + 1).max(1) as f64;
        let position = (((pixel - start) as f64 + 0.5) * padded as f64 / length - 0.5).max(0.0);
        (position as i64, (position as i64 + 1).min(padded - 1), position.fract())
    };
    let mut sum = 0.0;
    for y in y1.max(0)..(y2 + 1).min(height as i64) {
        let (top, bottom, v) = source(y, y1, y2);
        for x in x1.max(0)..(x2 + 1).min(width as i64) {
            let (left, right, u) = source(x, x1, x2);
            let upper = (1.0 - u) * at(top, left) + u * at(top, right);
            let lower = (1.0 - u) * at(bottom, left) + u * at(bottom, right);
            sum += (1.0 - v) * upper + v * lower;
        }
    }
    sum / (height * width) as f64
}

/// One to one: the same label, boxes within 0.05 pixels, mask means within 1e-4.
fn assert_masks(found: &[RawDetection], expected: &Value, size: [usize; 2]) {
    let expected = &expected["detections"];
    let means = numbers(&expected["mask_means"]);
    let labels = numbers(&expected["labels"]);
    let mut rest: Vec<&RawDetection> = found.iter().collect();
    for (index, bbox) in expected["boxes"].as_array().unwrap().iter().enumerate() {
        let bbox = numbers(bbox);
        let fits = |found: &&RawDetection| {
            let theirs = found.bbox.to_array().map(f64::from);
            let mean = mask_mean(found.mask.as_ref().unwrap(), theirs, size);
            found.label + 1 == labels[index] as usize
                && theirs.iter().zip(&bbox).all(|(a, b)| (a - b).abs() <= 0.05)
                && (mean - means[index]).abs() <= 1e-4
        };
        let partner = rest.iter().position(fits);
        rest.swap_remove(partner.unwrap_or_else(|| panic!("no mask for {index}")));
    }
}

/// The ellipse in a box, as the script of the reference draws it.
fn ellipse(bbox: BBox) -> Mask {
    let (x, y) = ((bbox.x1 + bbox.x2) / 2.0, (bbox.y1 + bbox.y2) / 2.0);
    let (rx, ry) = (bbox.width() / 2.0, bbox.height() / 2.0);
    let [left, top, right, bottom] = bbox.to_array().map(|v| v as usize);
    let (height, width) = (bottom - top, right - left);
    let is_inside = |i: usize| {
        let (column, row) = ((left + i % width) as f32, (top + i / width) as f32);
        ((row + 0.5 - y) / ry).powi(2) + ((column + 0.5 - x) / rx).powi(2) <= 1.0
    };
    let pixels = (0..height * width).map(is_inside).collect();
    Mask::new([left, top], [height, width], pixels).unwrap()
}

fn assert_reference(name: &str, config: &DetectorConfig) {
    let Some(path) = development_data(&format!("golden/torchvision_{name}.json")) else { return };
    let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let device = longtail_testing::device().autodiff();
    let detector = config.init(loss(13, &device), 0, &device).unwrap();
    let detector = filled(detector, |path, shape| {
        let name = rename(path);
        background_last(&name, detector_weights(&name, shape), 13)
    });

    let plain = detector.valid();
    let batch = image(&expected, &plain.devices()[0]);
    if let Detector::RCnn(rcnn) = &plain {
        let levels = rcnn.backbone.forward(batch.images.clone());
        assert_pyramid(&levels, &["0", "1", "2", "3", "pool"], &expected);
    }
    let found = plain.predict(&batch).unwrap().remove(0);
    assert_detections(&found, &expected, 1);
    if detector.has_masks() {
        assert_masks(&found, &expected, batch.sizes[0]);
    }

    assert_training(&detector, &image(&expected, &device), &[objects(&expected)], &expected);
}

/// The objects of a reference with their masks.
fn objects(expected: &Value) -> Vec<Instance> {
    let mut objects = targets(expected, 1);
    for object in &mut objects {
        object.mask = Some(ellipse(object.bbox));
    }
    objects
}

/// Every loss and the norm of every gradient.
fn assert_training(
    detector: &Detector,
    batch: &ImageBatch,
    objects: &[Vec<Instance>],
    expected: &Value,
) {
    let losses = detector.losses(batch, objects, KEY).unwrap();
    assert_losses(&losses.losses, expected);
    let norms = gradient_norms(detector, &losses.total().backward());
    let norms = norms.into_iter().map(|(path, norm)| (rename(&path), norm)).collect();
    assert_gradients(&norms, expected);
}

#[test]
fn faster_rcnn_matches() {
    assert_reference("fasterrcnn", &DetectorConfig::FasterRcnn(faster_rcnn()));
}

#[test]
fn mask_rcnn_matches() {
    assert_reference("maskrcnn", &DetectorConfig::MaskRcnn(mask_rcnn()));
}

/// The settings of xtask/reference/rcnn.py.
fn narrow_mask_rcnn() -> MaskRcnnConfig {
    let MaskRcnnConfig { backbone, rpn, rois, detection, .. } = mask_rcnn();
    let architecture = BackboneConfig::ResNet18;
    MaskRcnnConfig {
        backbone: DetectorBackboneConfig { architecture, ..backbone },
        fpn: FpnConfig { channels: 32, ..Default::default() },
        rpn: RpnConfig {
            anchor_sizes: [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size]).into(),
            train: ProposalLimits { before_nms: 150, after_nms: 100 },
            test: ProposalLimits { before_nms: 120, after_nms: 80 },
            ..rpn
        },
        rois,
        box_head: BoxHeadConfig {
            layers: BoxLayersConfig::TwoFc { width: 48 },
            ..Default::default()
        },
        mask_head: MaskHeadConfig { num_convs: 2, channels: 24, ..Default::default() },
        detection: DetectionConfig { max_per_image: 40, ..detection },
        ..Default::default()
    }
}

/// The images of the reference, normalised and then padded with zeros.
fn padded_images(expected: &Value, device: &Device) -> ImageBatch {
    let sizes = expected["sizes"].as_array().unwrap().iter().map(|size| {
        let size = numbers(size);
        [size[0] as usize, size[1] as usize]
    });
    let sizes: Vec<[usize; 2]> = sizes.collect();
    let (height, width) = (64, 96);
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut padded = vec![0.0_f32; sizes.len() * 3 * height * width];
    for (image, &[h, w]) in sizes.iter().enumerate() {
        for (i, v) in value(&format!("image:{image}"), 3 * h * w).into_iter().enumerate() {
            let (channel, row, column) = (i / (h * w), i / w % h, i % w);
            let at = ((image * 3 + channel) * height + row) * width + column;
            padded[at] = ((v + 1.0) / 2.0 - mean[channel]) / std[channel];
        }
    }
    let data = TensorData::new(padded, [sizes.len(), 3, height, width]);
    ImageBatch { images: Tensor::from_data(data, device), sizes }
}

/// Two images of different sizes, the second without an object.
#[test]
fn batches_match() {
    let expected = reference("mask_rcnn_batch.json");
    let device = longtail_testing::device().autodiff();
    let config = DetectorConfig::MaskRcnn(narrow_mask_rcnn());
    let detector = config.init(loss(6, &device), 0, &device).unwrap();
    let detector = filled(detector, |path, shape| {
        let name = rename(path);
        let gain = gain(&name);
        let values = weights(&name, shape, "bn2").into_iter().map(|v| v * gain).collect();
        background_last(&name, values, 6)
    });

    let plain = detector.valid();
    let batch = padded_images(&expected, &plain.devices()[0]);
    if let Detector::RCnn(rcnn) = &plain {
        let levels = rcnn.backbone.forward(batch.images.clone());
        assert_pyramid(&levels, &["0", "1", "2", "3", "pool"], &expected);
    }
    let found = plain.predict(&batch).unwrap();
    for (image, found) in found.iter().enumerate() {
        let expected = json!({ "detections": expected["detections"][image] });
        assert_detections(found, &expected, 1);
        assert_masks(found, &expected, batch.sizes[image]);
    }
    let objects = [objects(&expected), Vec::new()];
    assert_training(&detector, &padded_images(&expected, &device), &objects, &expected);
}
