//! What the tests of the longtail crates share.

mod property;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};

pub use property::{Damage, Outcome, calm, damage_file, damaged, damages, holds, names_file};

/// The device under test: `BURN_DEVICE` names one, else the first compiled backend.
pub fn device() -> Device {
    Device::default()
}

/// Whether the device under test is `flex`, the CPU backend in pure Rust. Others round logarithms
/// their own way, and what concerns threads and vector instructions does not concern them.
pub fn is_flex() -> bool {
    device() == Device::flex()
}

/// The folder with development data (`data/`, `golden/`), or `None` with a message on stderr.
///
/// `LONGTAIL_DATA` names it; by default it is `shared` beside the workspace.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn development_data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("LONGTAIL_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// Values of a tensor as `f32`, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap_or_default()
}

/// Largest absolute difference divided by the largest absolute expected value.
///
/// # Panics
/// If the lengths differ or a value is not finite.
pub fn relative_error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    let scale = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let pairs = actual.iter().zip(expected);
    pairs.fold(0.0, |worst, (&a, &e)| {
        assert!(a.is_finite(), "{a} where {e} is expected");
        worst.max((f64::from(a) - e).abs() / scale)
    })
}

/// Asserts that `actual` is within `tolerance` of `expected`, relative to the largest `expected`.
///
/// # Panics
/// If it is not, with the error found.
#[track_caller]
pub fn assert_close(name: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{name}: relative error {error:.3e} > {tolerance:.1e}");
}
