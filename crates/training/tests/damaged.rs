//! Files of a run that are cut off or changed: an error that names the file, never another run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{recipe, write_images};
use longtail_testing::device;
use longtail_training::{AnyTrained, Outcome, ProgressMode, Recipe, TrainOptions, train};

fn options(out: &Path, resume: bool, is_stopped: bool) -> TrainOptions {
    TrainOptions {
        resume,
        stop: Arc::new(AtomicBool::new(is_stopped)),
        progress: ProgressMode::Quiet,
        ..TrainOptions::new(out)
    }
}

/// A run that was stopped after its first step.
fn stopped_run(folder: &Path) -> (Recipe, PathBuf) {
    let data = folder.join("data");
    write_images(&data);
    let (recipe, out) =
        (recipe(&data, &["ema.decay=0.9", "loss.method=eql-v2"]), folder.join("run"));
    let outcome = train(&recipe, &device(), &options(&out, false, true)).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { step: 1 }), "{outcome:?}");
    (recipe, out)
}

/// Places all over a file: its first bytes, and `count` more.
fn places(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..16).chain((16..len).step_by(len / count)).chain([len - 1])
}

#[test]
fn damaged_checkpoints_are_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (recipe, out) = stopped_run(folder.path());
    let last = out.join("last.safetensors");
    let whole = fs::read(&last).unwrap();
    let refuses = |bytes: &[u8], what: &str| {
        fs::write(&last, bytes).unwrap();
        let resumed = train(&recipe, &device(), &options(&out, true, true)).map(drop);
        let loaded = AnyTrained::load(&out, &[""; 0], &device()).map(drop);
        for result in [resumed, loaded] {
            let message = result.unwrap_err().to_string();
            let is_clear = message.contains("last.safetensors") && message.contains("damaged");
            assert!(is_clear, "{what}: {message}");
        }
        assert!(fs::read(&last).unwrap() == bytes, "{what}: the file has changed");
    };
    for length in places(whole.len(), 40) {
        refuses(&whole[..length], &format!("cut at {length}"));
    }
    for place in places(whole.len(), 40) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        refuses(&bytes, &format!("byte {place}"));
    }
    let mut longer = whole.clone();
    longer.extend_from_slice(b"more");
    refuses(&longer, "more bytes");
    // A header that claims 2^63 bytes takes no memory.
    refuses(&[&(1_u64 << 63).to_le_bytes()[..], &whole[8..]].concat(), "a huge header");

    fs::write(&last, &whole).unwrap();
    let outcome = train(&recipe, &device(), &options(&out, true, false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
}

/// Metrics after the checkpoint are cut off; what is before it and damaged is named.
#[test]
fn damaged_metrics_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let out = folder.path().join("run");
    let recipe = recipe(&data, &["run.log_every=1", "run.checkpoint_every=1"]);
    train(&recipe, &device(), &options(&out, false, true)).unwrap();
    train(&recipe, &device(), &options(&out, true, true)).unwrap();
    let metrics = out.join("metrics.jsonl");
    let mut bytes = fs::read(&metrics).unwrap();
    bytes[0] = b'[';
    bytes.extend_from_slice(b"{\"step\": 99, \"lo");
    fs::write(&metrics, bytes).unwrap();
    let error = train(&recipe, &device(), &options(&out, true, false)).map(drop).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("metrics.jsonl") && message.contains("line 1"), "{message}");
    assert!(out.join("report.json").exists(), "what was trained is not lost");
}
