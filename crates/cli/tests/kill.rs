//! Runs that are killed at random moments end with the weights of those that are not.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the run is killed.
const NUM_KILLS: u32 = 20;

/// Everything that a checkpoint must carry: momentum, average of weights, loss state, batch norm.
const CLASSIFIER: &str = r#"
seed = 3
batch_size = 16
iterations = 400
dataset.source = { kind = "synthetic" }
model.backbone = "cifar-resnet20"
loss.method = "eql-v2"
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, nesterov = true }
ema.decay = 0.9
evaluation.every_epochs = 0
run = { threads = 2, workers = 2, checkpoint_every = 5 }
"#;

/// The same of a detector, with sampled anchors and regions.
const DETECTOR: &str = r#"
task = "detection"
seed = 3
batch_size = 2
iterations = 60
loss.method = "eql-v2"
optimizer = { kind = "sgd", lr = 0.01 }
gradient.clip_norm = 5.0
ema.decay = 0.9
evaluation.every_iterations = 25
run = { threads = 2, workers = 2, checkpoint_every = 3 }

[dataset.source]
kind = "synthetic"
width = 64
height = 64
num_classes = 5
train_images = 24
head_count = 16
test_instances = 2
object_size = [16, 24]

[transforms]
preprocess = { resize = { rule = "none" } }

[model]
kind = "faster-rcnn"
backbone = { architecture = "resnet18", norm = { kind = "batch" }, base_width = 16, frozen_stages = 0 }
fpn.channels = 16
rpn.anchor_sizes = [[8.0], [16.0], [32.0], [64.0], [128.0]]
rpn.train = { before_nms = 40, after_nms = 20 }
rpn.test = { before_nms = 40, after_nms = 20 }
rois.per_image = 16
box_head.layers = { kind = "two-fc", width = 32 }
"#;

fn train(folder: &Path, out: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.args(["train", "recipe.toml", "--resume", "--quiet", "--out", out]);
    command.current_dir(folder).stdout(Stdio::null());
    command
}

#[test]
fn twenty_kills_leave_no_trace() {
    kills_leave_no_trace(CLASSIFIER);
}

#[test]
fn twenty_kills_leave_no_trace_of_a_detector() {
    kills_leave_no_trace(DETECTOR);
}

#[test]
fn twenty_kills_leave_no_trace_of_contrast() {
    let scheme = "kind = \"contrast\"\nqueue_length = 64\nmomentum = 0.9";
    kills_leave_no_trace(&with_scheme(scheme));
}

#[test]
fn twenty_kills_leave_no_trace_of_class_balanced_distillation() {
    let scheme = "kind = \"class-balanced-distillation\"\nteachers = [\"teacher\", \"teacher\"]";
    kills_leave_no_trace(&with_scheme(scheme));
}

#[test]
fn twenty_kills_leave_no_trace_of_self_distillation() {
    kills_leave_no_trace(&with_scheme("kind = \"self-distillation\"\nteacher = \"teacher\""));
}

/// Features of the rarest class, which has five images, are complete after the first epoch.
#[test]
fn twenty_kills_leave_no_trace_of_breadcrumb() {
    kills_leave_no_trace(&with_scheme("kind = \"breadcrumb\"\nfeatures_per_class = 4"));
}

/// Two and a half epochs of a scheme, with a loss that has state.
fn with_scheme(scheme: &str) -> String {
    let recipe = CLASSIFIER.replace("iterations = 400", "iterations = 200");
    format!(
        "{}\n[scheme]\n{scheme}\n",
        recipe.replace("method = \"eql-v2\"", "method = \"equalized-softmax\"")
    )
}

fn kills_leave_no_trace(recipe: &str) {
    let folder = tempfile::tempdir().unwrap();
    if recipe.contains("\"teacher\"") {
        let teacher = CLASSIFIER.replace("iterations = 400", "iterations = 5");
        let teacher = teacher.replace("loss.method = \"eql-v2\"", "");
        fs::write(folder.path().join("recipe.toml"), teacher).unwrap();
        assert!(train(folder.path(), "teacher").status().unwrap().success());
    }
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    let start = Instant::now();
    assert!(train(folder.path(), "whole").status().unwrap().success());
    let whole = start.elapsed();

    // Moments from a fixed generator; together they last half of the run, so that there is room
    // for a machine that became faster meanwhile.
    let mut state = 12_345_u64;
    for kills in 0..NUM_KILLS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let share = (state >> 40) as f64 / f64::from(1 << 24);
        let mut child = train(folder.path(), "killed").spawn().unwrap();
        sleep(whole.mul_f64(share / f64::from(NUM_KILLS)) + Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "the run ended after {kills} kills");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(train(folder.path(), "killed").status().unwrap().success());

    let read = |run: &str, file: &str| fs::read(folder.path().join(run).join(file)).unwrap();
    for file in ["model.safetensors", "report.json"] {
        assert!(read("whole", file) == read("killed", file), "{file} differs");
    }
    let points = |run| read(run, "metrics.jsonl").iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(points("whole"), points("killed"), "points of the training curve");
}

/// A first stage with averaged weights, and a second that learns rates at which classes are drawn.
const TWO_STAGES: &str = r#"
seed = 3
batch_size = 16
iterations = 40
dataset.source = { kind = "synthetic" }
model.backbone = "cifar-resnet20"
loss.method = "eql-v2"
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, nesterov = true }
ema.decay = 0.9
evaluation.every_epochs = 0
run = { threads = 2, workers = 2, checkpoint_every = 4 }

[stage_two]
method = "meta-sampler"
meta_set = "train"

[stage_two.training]
batch_size = 32
iterations = 1500
optimizer = { kind = "sgd", lr = 0.1, weight_decay = 5e-4 }
"#;

/// What `DETECTOR` needs to go on with Meta Reweighter after its first stage.
const REWEIGHTER: &str = r#"
[stage_two]
iterations = 40
loss = { method = "balanced-sigmoid" }
meta_reweighter = { meta_loss = "shifted" }
"#;

#[test]
fn kills_in_each_stage_of_meta_sampler_leave_no_trace() {
    kills_in_each_stage_leave_no_trace(TWO_STAGES, 20);
}

#[test]
fn kills_in_each_stage_of_meta_reweighter_leave_no_trace() {
    let first = DETECTOR
        .replace("iterations = 60", "iterations = 24")
        .replace("loss.method = \"eql-v2\"", "loss.method = \"binary-cross-entropy\"");
    kills_in_each_stage_leave_no_trace(&format!("{first}{REWEIGHTER}"), 120);
}

/// Kills up to five times in each stage, each time up to `pause` milliseconds after a new
/// checkpoint. How far a run gets in that time depends on the machine: a stage that ends first is
/// left alone, after one kill at least.
fn kills_in_each_stage_leave_no_trace(recipe: &str, pause: u64) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    assert!(train(folder.path(), "whole").status().unwrap().success());
    let mut state = 54_321_u64;
    let [first, second] = ["killed/stage_one", "killed"]
        .map(|stage| folder.path().join(stage).join("last.safetensors"));
    for (checkpoint, next) in [(&first, Some(&second)), (&second, None)] {
        let mut pause_in = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sleep(Duration::from_millis((state >> 40) % most));
        };
        let kills =
            (0..5).take_while(|_| killed_in(folder.path(), checkpoint, next, || pause_in(pause)));
        assert!(kills.count() >= 1, "the stage is too short: {}", checkpoint.display());
    }
    assert!(train(folder.path(), "killed").status().unwrap().success());
    let read = |run: &str, file: &str| fs::read(folder.path().join(run).join(file)).unwrap();
    let names = ["model.safetensors", "report.json", "class_rates.json"];
    for file in names.into_iter().chain(["stage_one/model.safetensors"]) {
        assert!(read("whole", file) == read("killed", file), "{file} differs");
    }
}

/// Goes on with the run of `folder` up to a new checkpoint, and kills it after `pause`. False for a
/// stage that ended before: then the run ended too, or was killed at the `next` stage's first
/// checkpoint.
fn killed_in(
    folder: &Path,
    checkpoint: &Path,
    next: Option<&PathBuf>,
    pause: impl FnOnce(),
) -> bool {
    let time = || fs::metadata(checkpoint).and_then(|file| file.modified()).ok();
    let before = time();
    let mut child = train(folder, "killed").spawn().unwrap();
    let in_next = || next.is_some_and(|next| next.exists());
    while time() == before && !in_next() {
        if ended(&mut child) {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    pause();
    if ended(&mut child) {
        return false;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    !in_next()
}

fn ended(child: &mut Child) -> bool {
    match child.try_wait().unwrap() {
        None => false,
        Some(status) => {
            assert!(status.success(), "{status}");
            true
        }
    }
}
