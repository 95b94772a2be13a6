//! What leaves this program is read by others: weights by torchvision, results by pycocotools and
//! lvis-api, curves by TensorBoard, annotations by pycocotools.
//!
//! `LONGTAIL_PEER_PYTHON` names a Python with torch, torchvision, safetensors, Pillow, pycocotools,
//! lvis and tensorboard; without it the comparisons are skipped with a message.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{annotations, does, write_images};
use serde_json::Value;
use tempfile::TempDir;

/// A detector with the layers of torchvision, narrow and trained for a few steps on two images: long
/// enough that scores differ, so that rounding does not decide which detections are kept.
const DETECTOR: &str = r#"
task = "detection"
batch_size = 2
run = { tensorboard = true, log_every = 1, workers = 1 }

[dataset.source]
kind = "coco"
train = "train.json"
train_images = "."
val = "train.json"
val_images = "."

[transforms]
preprocess = { resize = { rule = "none" } }

[model]
backbone = { architecture = "resnet18", norm = { kind = "batch", statistics = "running" }, frozen_stages = 0 }
fpn.channels = 16
"#;

const RCNN: &str = r#"
kind = "mask-rcnn"
rpn.anchor_sizes = [[8.0], [16.0], [32.0], [64.0], [128.0]]
rpn.test = { before_nms = 100, after_nms = 50 }
box_head.layers = { kind = "two-fc", width = 32 }
mask_head = { num_convs = 1, channels = 8 }
detection.score_threshold = 0.0
"#;

const RETINANET: &str = r#"
kind = "retinanet"
detection.score_threshold = 0.0
"#;

const CLASSIFIER: &str = r#"
batch_size = 2
iterations = 60
loss.method = "balanced-softmax"
optimizer = { kind = "sgd", lr = 0.0001 }
model.backbone = "resnet18"

[dataset.source]
kind = "class-folders"
root = "photos"
"#;

/// Runs a script of this repository; `None`, with a message, where there is no Python for it.
#[track_caller]
fn python(folder: &Path, script: &str, arguments: &[&str]) -> Option<String> {
    let Some(python) = std::env::var_os("LONGTAIL_PEER_PYTHON") else {
        eprintln!("skipped: LONGTAIL_PEER_PYTHON names no Python for scripts/{script}");
        return None;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(script);
    let mut command = Command::new(python);
    let output = command.arg(path).args(arguments).current_dir(folder).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {printed}{message}");
    eprintln!("{printed}");
    Some(printed)
}

/// Two images with their annotations.
fn workplace(is_lvis: bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train.json"), annotations(is_lvis).to_string()).unwrap();
    write_images(folder.path(), &["7.png", "9.png"]);
    folder
}

/// Trains a detector with a loss in `runs/run`.
fn train(folder: &Path, model: &str, loss: &str) {
    let (iterations, lr) = if model == RETINANET { (40, 0.1) } else { (20, 0.01) };
    let length =
        format!("iterations = {iterations}\noptimizer = {{ kind = \"sgd\", lr = {lr} }}\n");
    let recipe = format!("loss = {loss}\n{length}{DETECTOR}{model}");
    fs::write(folder.join("run.toml"), recipe).unwrap();
    does(folder, &["train", "run.toml", "--quiet"]);
}

/// The run's weights in torchvision, and what both sides find in an image.
fn compare_with_torchvision(folder: &Path, predict: &[&str]) {
    does(folder, &["weights", "export", "runs/run", "--out", "run.safetensors"]);
    let predict = [&["predict", "--run", "runs/run", "7.png", "--json"], predict].concat();
    let found = does(folder, &predict);
    let found_list: Value = serde_json::from_str(&found).unwrap();
    let first = &found_list[0];
    let list = first.get("detections").or_else(|| first.get("classes")).unwrap();
    assert!(!list.as_array().unwrap().is_empty());
    fs::write(folder.join("found.json"), found).unwrap();
    let arguments = ["runs/run", "run.safetensors", "7.png", "found.json"];
    if let Some(printed) = python(folder, "torchvision_load.py", &arguments) {
        assert!(printed.contains("largest difference"), "{printed}");
    }
}

#[test]
fn torchvision_finds_the_same_with_exported_weights() {
    for (model, loss) in [
        (RCNN, "{ method = \"cross-entropy\", background = true }"),
        (RCNN, "{ method = \"balanced-sigmoid\" }"),
        (RETINANET, "{ method = \"focal\", prior = 0.2 }"),
    ] {
        let workplace = workplace(false);
        train(workplace.path(), model, loss);
        compare_with_torchvision(workplace.path(), &["--min-score", "0"]);
    }
}

#[test]
fn torchvision_classifies_the_same_with_exported_weights() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    for (split, class) in [("train", "owl"), ("train", "wren"), ("test", "owl"), ("test", "wren")] {
        write_images(&folder.join("photos").join(split).join(class), &["1.png"]);
    }
    write_images(folder, &["7.png"]);
    fs::write(folder.join("run.toml"), CLASSIFIER).unwrap();
    does(folder, &["train", "run.toml", "--quiet"]);
    compare_with_torchvision(folder, &["--top", "2"]);
}

#[test]
fn results_evaluate_equally_with_the_reference_programs() {
    for is_lvis in [false, true] {
        let workplace = workplace(is_lvis);
        let folder = workplace.path();
        train(folder, RCNN, "{ method = \"balanced-sigmoid\" }");
        let again = does(
            folder,
            &["evaluate", "runs/run", "--results", "results", "--out", "again", "--json"],
        );
        let again: Value = serde_json::from_str(&again).unwrap();
        let run = fs::read(folder.join("runs/run/report.json")).unwrap();
        let run: Value = serde_json::from_slice(&run).unwrap();
        assert_eq!(again["boxes"]["metrics"], run["metrics"]);

        // The same numbers from the files alone.
        let files = ["--annotations", "train.json", "--detections", "results/segm.json"];
        let files = [&["evaluate", "--iou", "segm", "--json"], &files[..]].concat();
        let report: Value = serde_json::from_str(&does(folder, &files)).unwrap();
        assert_eq!(report["metrics"], again["masks"]["metrics"]);

        for (results, report) in [
            ("results/bbox.json", "again/report.json"),
            ("results/segm.json", "again/masks/report.json"),
        ] {
            python(folder, "check_results.py", &["train.json", results, report]);
        }
        // Written anew by this program, the annotations mean the same.
        let convert = ["data", "convert", "--annotations", "train.json", "--out", "written.json"];
        does(folder, &convert);
        let arguments = ["written.json", "results/bbox.json", "again/report.json"];
        python(folder, "check_results.py", &arguments);
    }
}

#[test]
fn tensorboard_reads_what_metrics_say_after_a_resumption_too() {
    let workplace = workplace(false);
    let folder = workplace.path();
    train(folder, RCNN, "{ method = \"balanced-sigmoid\" }");
    let events = || {
        let entries = fs::read_dir(folder.join("runs/run")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("events.out.tfevents.")).count()
    };
    assert_eq!(events(), 1);
    python(folder, "read_tensorboard.py", &["runs/run"]);
    // A finished run that is resumed trains no further step, and opens a file all the same.
    does(folder, &["train", "run.toml", "--quiet", "--resume"]);
    assert_eq!(events(), 2);
    python(folder, "read_tensorboard.py", &["runs/run"]);
}
