//! Training in half precision stays near training in single precision.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use burn::tensor::FloatDType;
use common::{recipe, write_images};
use longtail_testing::device;
use longtail_training::{
    DetectionRecipe, ProgressMode, Recipe, TrainOptions, train, train_detector,
};
use serde_json::Value;

fn options(out: &Path) -> TrainOptions {
    TrainOptions { progress: ProgressMode::Quiet, ..TrainOptions::new(out) }
}

/// The losses of a run's training curve.
fn curve(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let points = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    points.filter_map(|point| point["loss"].as_f64()).collect()
}

/// Differs, but by less than a tenth.
fn assert_near(single: &[f64], half: &[f64]) {
    assert_eq!(single.len(), half.len());
    assert_ne!(single, half, "nothing was computed in half precision");
    for (single, half) in single.iter().zip(half) {
        assert!((single - half).abs() < 0.1 * single, "{single}, {half}");
    }
}

#[test]
fn a_classifier() {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("data"));
    let run = |precision: &str| {
        let out = folder.path().join(precision);
        let precision = format!("precision={precision}");
        let recipe: Recipe =
            recipe(&folder.path().join("data"), &["epochs=2", "optimizer.lr=0.005", &precision]);
        train(&recipe, &device(), &options(&out)).map(|_| curve(&out))
    };
    if !device().supports_dtype(FloatDType::BF16) {
        let message = run("bf16").unwrap_err().to_string();
        assert!(message.contains("precision") && message.contains("bf16"), "{message}");
        return;
    }
    assert_near(&run("f32").unwrap(), &run("bf16").unwrap());
}

#[test]
fn a_detector() {
    if !device().supports_dtype(FloatDType::BF16) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |precision: &str| {
        let out = folder.path().join(precision);
        let overrides = [format!("precision={precision}"), "iterations=2".into()];
        let text = include_str!("tiny_detector.toml");
        let recipe = DetectionRecipe::parse("tiny", text, &overrides).unwrap();
        train_detector(&recipe, &device(), &options(&out)).unwrap();
        curve(&out)
    };
    assert_near(&run("f32"), &run("bf16"));
}

#[test]
fn a_last_layer_by_meta_reweighter() {
    if !device().supports_dtype(FloatDType::BF16) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let first = [
        "loss={ method = \"binary-cross-entropy\" }",
        "iterations=1",
        "run={ workers = 1, log_every = 1 }",
    ];
    let run = |precision: &str| {
        let out = folder.path().join(precision);
        let stage = "stage_two={ iterations = 2, meta_reweighter = {} }".to_string();
        let precision = format!("precision={precision}");
        let overrides = first.map(str::to_string).into_iter().chain([stage, precision]);
        let text = include_str!("tiny_detector.toml");
        let recipe = DetectionRecipe::parse("tiny", text, &overrides.collect::<Vec<_>>()).unwrap();
        train_detector(&recipe, &device(), &options(&out)).unwrap();
        curve(&out)
    };
    let (single, half) = (run("f32"), run("bf16"));
    assert_eq!(single.len(), 2, "of the second stage");
    assert_near(&single, &half);
}
