//! Values and weights by the formula of xtask/reference/models.py.
#![allow(dead_code, reason = "every test binary uses a part")]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use longtail_models::{Classifier, LoadScope, inspect};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// `count` values in [-1, 1) that depend on the name.
pub(crate) fn value(name: &str, count: usize) -> Vec<f32> {
    let start = crc32(name.as_bytes());
    let mix = |i: usize| {
        let mut h = (i as u32).wrapping_mul(0x9E37_79B9).wrapping_add(start);
        h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
        h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
        (f64::from(h ^ (h >> 16)) / 2_f64.powi(31) - 1.0) as f32
    };
    (0..count).map(mix).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

/// A tensor of such values.
pub(crate) fn tensor<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(value(name, shape.iter().product()), shape), device)
}

/// Weights of one parameter; `last` names the batch norms that end a residual branch.
pub(crate) fn weights(name: &str, shape: &[usize], last: &str) -> Vec<f32> {
    let count = shape.iter().product();
    let is_last = name.split('.').rev().nth(1) == Some(last);
    let one_dimensional = if is_last { 0.3 } else { 1.0 };
    let scale = (6.0 / (count as f64 / shape[0] as f64)).sqrt() as f32;
    let weight = |v: f32| match shape.len() {
        _ if name.ends_with("running_var") => 1.0 + 0.1 * v.abs(),
        _ if name.ends_with("running_mean") || name.ends_with("bias") => 0.1 * v,
        1 => one_dimensional + 0.1 * v,
        _ => v * scale,
    };
    value(name, count).into_iter().map(weight).collect()
}

/// Writes f32 tensors as safetensors.
pub(crate) fn write_safetensors(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Gives every weight its formula value, by way of two weight files.
pub(crate) fn fill(classifier: &mut Classifier, last: &str) {
    let folder = tempfile::tempdir().unwrap();
    let names = folder.path().join("names.safetensors");
    classifier.save_weights(&names).unwrap();
    let entries = inspect(&names).unwrap().into_iter();
    let entries = entries.filter(|(name, ..)| !name.ends_with("num_batches_tracked"));
    let tensors: Vec<_> = entries
        .map(|(name, shape, _)| (name.clone(), shape.clone(), weights(&name, &shape, last)))
        .collect();
    let path = folder.path().join("formula.safetensors");
    write_safetensors(&path, &tensors);
    let report = classifier.load_weights(&path, LoadScope::All).unwrap();
    assert_eq!(report.applied.len(), tensors.len());
    assert!(report.unused.is_empty() && report.missing.is_empty());
}

/// Reads one of our files of reference numbers.
pub(crate) fn reference(name: &str) -> Value {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"));
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// A JSON list of numbers.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Every n-th of the values, as the reference lists them.
pub(crate) fn sampled(values: &[f32], sample: &Value) -> Vec<f32> {
    let every = sample["every"].as_u64().unwrap() as usize;
    let count = sample["values"].as_array().unwrap().len();
    values.iter().step_by(every).take(count).copied().collect()
}
