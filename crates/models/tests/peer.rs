//! Weight files exchanged with torchvision itself. `LONGTAIL_PEER_PYTHON` names a Python that has it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;
#[path = "common/formula.rs"]
mod formula;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::tensor;
use formula::{assert_detections, image};
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig, FocalConfig,
};
use longtail_models::{
    BackboneConfig, Classifier, ClassifierConfig, Detector, DetectorConfig, DetectorLoadScope,
    LoadScope, WeightSet, inspect,
};
use longtail_testing::{assert_close, values};
use longtail_types::ClassCounts;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Runs xtask/reference/models.py, which prints logits or detections.
fn peer<T: DeserializeOwned>(arguments: &[&str], path: &Path) -> Option<T> {
    let Some(python) = std::env::var_os("LONGTAIL_PEER_PYTHON") else {
        eprintln!("skipped: LONGTAIL_PEER_PYTHON names no Python with torchvision");
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/reference/models.py");
    let output = Command::new(python).arg(script).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn logits(classifier: &Classifier) -> Vec<f32> {
    values(classifier.forward(tensor("image:1", [2, 3, 64, 96], &longtail_testing::device())))
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    (folder, path)
}

#[test]
fn files_of_torchvision_load() {
    let (_folder, path) = scratch();
    let models = [
        ("resnet18", BackboneConfig::ResNet18),
        ("resnet50", BackboneConfig::ResNet50),
        ("resnext50_32x4d", BackboneConfig::ResNeXt50),
    ];
    for (name, config) in models {
        let Some(expected) = peer::<Vec<f64>>(&["save", name], &path) else { return };
        let device = longtail_testing::device();
        let mut classifier = ClassifierConfig::new(config).init(13, None, 0, &device).unwrap();
        let report = classifier.load_weights(&path, LoadScope::All).unwrap();
        assert!(report.missing.is_empty());
        assert!(report.unused.iter().all(|name| name.ends_with("num_batches_tracked")));
        assert_close(name, &logits(&classifier), &expected, 1e-5);
        let entries = inspect(&path).unwrap();
        assert!(entries.iter().any(|(name, shape, _)| name == "fc.bias" && shape == &[13]));
    }
}

#[test]
fn torchvision_loads_our_files() {
    let (_folder, path) = scratch();
    let models = [
        ("resnet18", BackboneConfig::ResNet18),
        ("resnext50_32x4d", BackboneConfig::ResNeXt50),
        ("cifar-resnet20", BackboneConfig::CifarResNet20),
    ];
    for (name, config) in models {
        let device = longtail_testing::device();
        let classifier = ClassifierConfig::new(config).init(10, None, 5, &device).unwrap();
        classifier.save_weights(&path).unwrap();
        let Some(expected) = peer::<Vec<f64>>(&["check", name], &path) else { return };
        assert_close(name, &logits(&classifier), &expected, 1e-5);
    }
}

/// torchvision's name, the weight set that says which detector that is, whether its label 0 is
/// background.
const DETECTORS: [(&str, &str, bool); 6] = [
    ("fasterrcnn_resnet50_fpn", "faster-rcnn-resnet50-fpn-coco", true),
    ("maskrcnn_resnet50_fpn", "mask-rcnn-resnet50-fpn-coco", true),
    ("retinanet_resnet50_fpn", "retinanet-resnet50-fpn-coco", false),
    ("fasterrcnn_resnet50_fpn_v2", "faster-rcnn-resnet50-fpn-v2-coco", true),
    ("maskrcnn_resnet50_fpn_v2", "mask-rcnn-resnet50-fpn-v2-coco", true),
    ("retinanet_resnet50_fpn_v2", "retinanet-resnet50-fpn-v2-coco", false),
];

/// The detector of a weight set with torchvision's 13 columns, as the script configures it: made
/// without weights, its batch norms have the usual epsilon.
fn detector(set: &str, has_background: bool, seed: u64) -> Detector {
    let mut config = WeightSet::named(set).unwrap().detector().unwrap();
    match &mut config {
        DetectorConfig::FasterRcnn(config) => {
            config.rpn.test.after_nms = 100;
            config.detection.score_threshold = 0.0;
            config.detection.max_per_image = 30;
            config.backbone.norm = config.backbone.norm.clone().with_epsilon(1e-5);
        }
        DetectorConfig::MaskRcnn(config) => {
            config.rpn.test.after_nms = 100;
            config.detection.score_threshold = 0.0;
            config.detection.max_per_image = 30;
            config.backbone.norm = config.backbone.norm.clone().with_epsilon(1e-5);
        }
        DetectorConfig::RetinaNet(config) => {
            config.detection.score_threshold = 0.0;
            config.detection.max_per_image = 30;
            config.backbone.norm = config.backbone.norm.clone().with_epsilon(1e-5);
        }
        DetectorConfig::CascadeRcnn(_) => panic!("torchvision has no cascade"),
    }
    let device = longtail_testing::device();
    let loss = if has_background {
        let counts = ClassCounts::from_labels(0..12, 12).unwrap();
        let config = CrossEntropyConfig { background: true };
        ClassificationLossConfig::CrossEntropy(config).init(&counts, &device).unwrap()
    } else {
        ClassificationLoss::Focal(FocalConfig::default().init(13, &device).unwrap())
    };
    config.init(loss, seed, &device).unwrap()
}

fn assert_same(name: &str, detector: &Detector, expected: &Value, has_background: bool) {
    let batch = image(expected, &longtail_testing::device());
    let found = detector.predict(&batch).unwrap().remove(0);
    if let Some(num_masks) = expected["detections"]["masks"].as_u64() {
        assert_eq!(found.iter().filter(|d| d.mask.is_some()).count() as u64, num_masks, "{name}");
    }
    assert_detections(&found, expected, usize::from(has_background));
}

/// There and back: the detections are torchvision's after its file, and its are ours after our file.
#[test]
fn detectors_travel() {
    let (folder, path) = scratch();
    let theirs = folder.path().join("theirs.pth");
    for (name, set, has_background) in DETECTORS {
        let Some(expected) = peer::<Value>(&["save-detector", name], &theirs) else { return };
        let mut detector = detector(set, has_background, 0);
        let report = detector.load_weights(&theirs, DetectorLoadScope::All).unwrap();
        assert!(report.missing.is_empty());
        assert!(report.unused.iter().all(|name| name.ends_with("num_batches_tracked")));
        assert_same(name, &detector, &expected, has_background);
        detector.save_weights(&path).unwrap();
        let found = peer::<Value>(&["check-detector", name], &path).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}
