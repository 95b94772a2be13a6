//! Weight files exchanged with torchvision itself. `LONGTAIL_PEER_PYTHON` names a Python that has it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::tensor;
use longtail_models::{BackboneConfig, Classifier, ClassifierConfig, LoadScope, inspect};
use longtail_testing::{assert_close, values};

/// Runs xtask/reference/models.py, which prints logits.
fn peer(arguments: &[&str], path: &Path) -> Option<Vec<f64>> {
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
        let Some(expected) = peer(&["save", name], &path) else { return };
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
        let Some(expected) = peer(&["check", name], &path) else { return };
        assert_close(name, &logits(&classifier), &expected, 1e-5);
    }
}
