//! RetinaNet against torchvision's numbers, and at the borders.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/formula.rs"]
mod formula;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use common::{reference, weights};
use formula::{
    assert_detections, assert_gradients, assert_losses, assert_pyramid, detector_weights, filled,
    gain, gradient_norms, image, targets,
};
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, EqualizationV2Config, EqualizedFocalConfig,
    EqualizedQualityFocalConfig, FocalConfig, GradientHarmonizingConfig, SeesawConfig,
};
use longtail_models::{
    BackboneConfig, DetectorBackboneConfig, FpnConfig, ModelError, NormConfig, RetinaNet,
    RetinaNetConfig, RetinaNetDetectionConfig, RetinaNetHeadConfig, WeightInit,
};
use longtail_ops::{AnchorGenerator, ImageBatch, Match, Matcher};
use longtail_testing::{assert_close, development_data, values};
use longtail_types::{BBox, ClassCounts, Instance};
use serde_json::Value;

fn focal(num_classes: usize, device: &Device) -> ClassificationLoss {
    ClassificationLoss::Focal(FocalConfig::default().init(num_classes, device).unwrap())
}

/// Batch norms keep to their running statistics, as in the script of the reference.
fn torchvision(device: &Device) -> RetinaNet {
    let backbone = DetectorBackboneConfig {
        norm: NormConfig::running(),
        frozen_stages: 0,
        ..Default::default()
    };
    let detection =
        RetinaNetDetectionConfig { score_threshold: 0.0, max_per_image: 50, ..Default::default() };
    let config = RetinaNetConfig { backbone, detection, ..Default::default() };
    let model = config.init(focal(13, device), &WeightInit::new(0, device)).unwrap();
    filled(model, detector_weights)
}

#[test]
fn torchvision_agrees() {
    let Some(path) = development_data("golden/torchvision_retinanet.json") else { return };
    let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let device = longtail_testing::device();
    let model = torchvision(&device.clone().autodiff());

    let inference = model.valid();
    let batch = image(&expected, &device);
    let levels = inference.backbone.forward(batch.images.clone());
    assert_pyramid(&levels, &["0", "1", "2", "p6", "p7"], &expected);
    let found = inference.predict(&batch).unwrap();
    assert_detections(&found[0], &expected, 0);

    let batch = image(&expected, &device.autodiff());
    let losses = model.losses(&batch, &[targets(&expected, 0)]).unwrap();
    assert_losses(&losses.losses, &expected);
    let gradients = losses.total().backward();
    assert_gradients(&gradient_norms(&model, &gradients), &expected);
}

/// The settings of xtask/reference/retinanet.py.
fn narrow() -> RetinaNetConfig {
    RetinaNetConfig {
        backbone: DetectorBackboneConfig {
            norm: NormConfig::running(),
            ..DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18)
        },
        fpn: FpnConfig { channels: 32, ..Default::default() },
        anchor_sizes: [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size, size * 1.5]).into(),
        detection: RetinaNetDetectionConfig {
            score_threshold: 0.0,
            candidates_per_level: 60,
            max_per_image: 40,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Two images of different sizes, with different numbers of positive anchors.
#[test]
fn batches_match() {
    let expected = reference("retinanet_batch.json");
    let device = longtail_testing::device().autodiff();
    let model = make(&narrow(), focal(5, &device), &device);
    let model = filled(model, |name, shape| {
        let gain = gain(name);
        weights(name, shape, "bn2").into_iter().map(|v| v * gain).collect()
    });
    let images = expected["images"].as_array().unwrap();
    let batch = |device: &Device| {
        let single = images.iter().map(|expected| image(expected, device));
        let (images, sizes): (Vec<_>, Vec<_>) = single.map(|one| (one.images, one.sizes)).unzip();
        ImageBatch { images: Tensor::cat(images, 0), sizes: sizes.concat() }
    };
    let found = model.valid().predict(&batch(&longtail_testing::device())).unwrap();
    for (found, expected) in found.iter().zip(images) {
        assert_detections(found, expected, 0);
    }
    let objects: Vec<Vec<Instance>> = images.iter().map(|e| targets(e, 0)).collect();
    let losses = model.losses(&batch(&device), &objects).unwrap();
    assert_losses(&losses.losses, &expected);
    let gradients = losses.total().backward();
    assert_gradients(&gradient_norms(&model, &gradients), &expected);
}

/// Narrow, with every part that the full one has.
fn tiny() -> RetinaNetConfig {
    RetinaNetConfig {
        backbone: DetectorBackboneConfig {
            base_width: 4,
            ..DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18)
        },
        fpn: FpnConfig { channels: 8, ..Default::default() },
        head: RetinaNetHeadConfig { num_convs: 1, norm: Some(NormConfig::group(2)) },
        ..Default::default()
    }
}

fn make(config: &RetinaNetConfig, loss: ClassificationLoss, device: &Device) -> RetinaNet {
    config.init(loss, &WeightInit::new(1, device)).unwrap()
}

fn batch(sizes: &[[usize; 2]], device: &Device) -> ImageBatch {
    let images = common::tensor("image:3", [sizes.len(), 3, 70, 100], device);
    ImageBatch { images, sizes: sizes.to_vec() }
}

fn object(label: usize, bbox: [f32; 4]) -> Instance {
    Instance { label, bbox: bbox.into(), mask: None }
}

#[test]
fn images_without_objects_train_the_classifier_alone() {
    let device = longtail_testing::device().autodiff();
    let model = make(&tiny(), focal(3, &device), &device);
    let batch = batch(&[[70, 100]], &device);
    let losses = model.losses(&batch, &[vec![]]).unwrap();
    assert_eq!(values(losses.get("bbox_regression").unwrap().clone()), [0.0]);
    // Focal loss at the prior 0.01: 0.75 * 0.01^2 * -ln(0.99), near that for every entry.
    let num_entries = 9 * (9 * 13 + 5 * 7 + 3 * 4 + 2 * 2 + 1) * 3;
    let expected = 0.75 * 1e-4 * -f64::ln(0.99) * f64::from(num_entries);
    let classification = values(losses.get("classification").unwrap().clone());
    assert_close("classification", &classification, &[expected], 0.2);
    let norms = gradient_norms(&model, &losses.total().backward());
    assert_eq!(norms["head.regression_head.bbox_reg.weight"], 0.0);
    assert!(norms["head.classification_head.cls_logits.weight"] > 0.0);
    assert!(norms.values().all(|norm| norm.is_finite()));
}

#[test]
fn one_pixel_objects_and_objects_outside_have_finite_losses() {
    let device = longtail_testing::device().autodiff();
    let model = make(&tiny(), focal(3, &device), &device);
    let objects = vec![
        object(0, [5.0, 5.0, 6.0, 6.0]),
        object(1, [-500.0, -500.0, -400.0, -400.0]),
        object(2, [0.0, 0.0, 0.001, 70.0]),
        object(2, [-1e6, -1e6, 1e6, 1e6]),
    ];
    let losses = model.losses(&batch(&[[70, 100]], &device), &[objects]).unwrap();
    let norms = gradient_norms(&model, &losses.total().backward());
    assert!(norms.len() > 60 && norms.values().all(|norm| norm.is_finite()), "{norms:?}");
}

/// Background columns are laid out per anchor, and statistics come back.
#[test]
fn every_layout_of_a_loss_works() {
    let device = longtail_testing::device().autodiff();
    let counts = ClassCounts::from_labels([0, 0, 0, 0, 1, 1, 2], 3).unwrap();
    let configs = [
        (ClassificationLossConfig::Seesaw(SeesawConfig::default()), 5),
        (ClassificationLossConfig::EqualizationV2(EqualizationV2Config::default()), 4),
        (ClassificationLossConfig::EqualizedFocal(EqualizedFocalConfig::default()), 3),
        (ClassificationLossConfig::EqualizedQualityFocal(Default::default()), 3),
        (ClassificationLossConfig::AdaptiveSuppression(Default::default()), 4),
        (ClassificationLossConfig::Federated(Default::default()), 3),
    ];
    for (config, num_logits) in configs {
        let loss = config.init(&counts, &device).unwrap();
        assert_eq!(loss.num_logits(), num_logits);
        let mut model = make(&tiny(), loss, &device);
        let objects = vec![object(1, [10.0, 10.0, 60.0, 64.0])];
        let losses = model.losses(&batch(&[[70, 100]], &device), &[objects]).unwrap();
        assert!(values(losses.total())[0].is_finite());
        let before = model.classification_loss().state();
        for update in losses.updates {
            model.classification_loss_mut().apply(update).unwrap();
        }
        let after = model.classification_loss().state();
        assert!(before.iter().zip(&after).any(|(a, b)| values(a.1.clone()) != values(b.1.clone())));
        let found = model.valid().predict(&batch(&[[70, 100]], &device.clone().inner())).unwrap();
        assert!(found[0].iter().all(|d| d.label < 3 && d.score <= 1.0));
    }
}

/// The first batch of EFL is focal loss; the second, with its statistics, is another.
#[test]
fn equalized_focal_loss_starts_as_focal_loss() {
    let device = longtail_testing::device().autodiff();
    let efl = EqualizedFocalConfig { prior: 0.01, ..Default::default() };
    let efl = ClassificationLoss::EqualizedFocal(efl.init(3, &device).unwrap());
    let objects = vec![object(1, [10.0, 10.0, 60.0, 64.0]), object(2, [40.0, 5.0, 90.0, 50.0])];
    let run = |model: &RetinaNet| {
        let losses =
            model.losses(&batch(&[[70, 100]], &device), std::slice::from_ref(&objects)).unwrap();
        (values(losses.get("classification").unwrap().clone())[0], losses.updates)
    };
    let expected = f64::from(run(&make(&tiny(), focal(3, &device), &device)).0);
    let mut model = make(&tiny(), efl, &device);
    let (first, updates) = run(&model);
    assert_close("first batch", &[first], &[expected], 1e-6);
    for update in updates {
        model.classification_loss_mut().apply(update).unwrap();
    }
    let ratio = values(model.classification_loss().state()[2].1.clone());
    assert!(
        ratio[0] == 0.0 && ratio[1] > 0.0 && ratio[2] > 0.0,
        "class 0 has no object: {ratio:?}"
    );
    assert_ne!(run(&model).0, first);
}

/// A model whose every score is one number and that moves no anchor: its loss, anchor by anchor.
#[test]
fn qualities_are_overlaps_of_the_predicted_boxes() {
    let device = longtail_testing::device().autodiff();
    let eqfl = EqualizedQualityFocalConfig { prior: 0.05, ..Default::default() };
    let eqfl = ClassificationLoss::EqualizedQualityFocal(eqfl.init(3, &device).unwrap());
    let bias = (0.05_f32 / 0.95).ln();
    let model = filled(make(&tiny(), eqfl, &device), |name, shape| {
        let value = if name.ends_with("cls_logits.bias") { bias } else { 0.0 };
        vec![value; shape.iter().product()]
    });
    let objects = vec![object(1, [10.0, 10.0, 60.0, 64.0]), object(2, [40.0, 5.0, 90.0, 50.0])];
    let losses =
        model.losses(&batch(&[[70, 100]], &device), std::slice::from_ref(&objects)).unwrap();

    let feature_sizes = [[9, 13], [5, 7], [3, 4], [2, 2], [1, 1]];
    let anchors = AnchorGenerator::retinanet().anchors([70, 100], &feature_sizes).concat();
    let boxes: Vec<BBox> = objects.iter().map(|object| object.bbox).collect();
    let score = 0.05_f64;
    let entry = |quality: f64| {
        let entropy = -quality * score.ln() - (1.0 - quality) * (1.0 - score).ln();
        (quality - score).powi(2) * entropy
    };
    let (mut sum, mut num_positives) = (0.0, 0.0);
    for (anchor, found) in anchors.iter().zip(Matcher::retinanet().match_boxes(&boxes, &anchors)) {
        match found {
            Match::Ignored => {}
            Match::Positive(object) => {
                num_positives += 1.0;
                sum += entry(anchor.iou(boxes[object]).into()) + 2.0 * entry(0.0);
            }
            _ => sum += 3.0 * entry(0.0),
        }
    }
    assert!(num_positives > 3.0);
    let found = values(losses.get("classification").unwrap().clone());
    assert_close("classification", &found, &[sum / num_positives], 1e-4);
}

/// GHM-C counts all anchors; the number of objects does not divide its loss.
#[test]
fn losses_with_a_divisor_of_their_own_keep_it() {
    let device = longtail_testing::device().autodiff();
    let ghm = GradientHarmonizingConfig::default().init(3, &device).unwrap();
    let model = make(&tiny(), ClassificationLoss::GradientHarmonizing(ghm), &device);
    let objects = vec![object(1, [10.0, 10.0, 60.0, 64.0])];
    let losses = model.losses(&batch(&[[70, 100]], &device), &[objects]).unwrap();
    // Two bins are filled at the prior of 0.01: -ln 0.99 and -ln 0.01, each with half the weight.
    let loss = values(losses.get("classification").unwrap().clone());
    let expected = (0.01_f64.ln() + 0.99_f64.ln()) / -2.0;
    assert_close("ghm-c", &loss, &[expected], 0.1);
    let num_anchors = 9 * (9 * 13 + 5 * 7 + 3 * 4 + 2 * 2 + 1);
    assert!(losses.counts[0] > num_anchors / 2 && losses.counts[1] < 100, "{:?}", losses.counts);
}

#[test]
fn detections_stay_in_the_image_of_each_size() {
    let device = longtail_testing::device();
    let mut config = tiny();
    config.detection.score_threshold = 0.0;
    config.detection.max_per_image = 40;
    let model = make(&config, focal(3, &device), &device);
    let sizes = [[70, 100], [30, 41], [1, 1]];
    let found = model.predict(&batch(&sizes, &device)).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>()[..2], [40, 40]);
    for (found, size) in found.iter().zip(sizes) {
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert!(found.iter().all(|d| d.bbox == d.bbox.clip(size) && d.mask.is_none()));
    }
    assert!(model.predict(&batch(&[[70, 101]], &device)).is_err());
}

#[test]
fn objects_that_cannot_be_learned_are_named() {
    let device = longtail_testing::device();
    let model = make(&tiny(), focal(3, &device), &device);
    let batch = batch(&[[70, 100]], &device);
    let refused = |targets: &[Vec<Instance>]| match model.losses(&batch, targets) {
        Err(error @ (ModelError::Object { .. } | ModelError::BatchLength { .. })) => {
            error.to_string()
        }
        other => panic!("{other:?}"),
    };
    let message =
        refused(&[vec![object(0, [0.0, 0.0, 9.0, 9.0]), object(3, [0.0, 0.0, 9.0, 9.0])]]);
    assert_eq!(message, "object 1 of image 0 of the batch: label 3 is outside 0..3");
    assert!(refused(&[vec![object(0, [4.0, 4.0, 4.0, 9.0])]]).contains("has no area"));
    assert!(refused(&[]).contains("0 lists of objects"));
}
