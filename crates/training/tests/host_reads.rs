//! How often a training step waits for the device.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use longtail_kernels::host_reads;
use longtail_testing::device;
use longtail_training::{DetectionRecipe, ProgressMode, TrainOptions, train_detector};

/// The losses of every step are read, which a recipe does every 50 steps by default.
const RECIPE: &str = r#"
task = "detection"
seed = 5
batch_size = 2
iterations = 1

[dataset.source]
kind = "synthetic"
width = 64
height = 64
num_classes = 5
train_images = 9
head_count = 6
test_instances = 2
object_size = [16, 24]

[model]
kind = "faster-rcnn"
fpn.channels = 8

[model.backbone]
architecture = "resnet18"
norm = { kind = "batch" }
base_width = 8
frozen_stages = 0

[loss]
method = "eql-v2"

[optimizer]
kind = "sgd"
lr = 0.01

[gradient]
clip_norm = 5.0

[run]
workers = 1
log_every = 1
checkpoint_every = 0
"#;

const TWO_STAGES: [&str; 5] = [
    "model.rpn.anchor_sizes=[[8.0], [16.0], [32.0], [64.0], [128.0]]",
    "model.rpn.train={ before_nms = 40, after_nms = 20 }",
    "model.rpn.test={ before_nms = 40, after_nms = 20 }",
    "model.rois.per_image=16",
    "model.box_head.layers={ kind = \"two-fc\", width = 16 }",
];

/// Reads of a run of so many steps, its evaluation and its files included.
fn reads_of_run(overrides: &[&str], steps: usize, out: &Path) -> u64 {
    let steps = format!("iterations={steps}");
    let overrides: Vec<&str> = overrides.iter().copied().chain([steps.as_str()]).collect();
    let recipe = DetectionRecipe::parse("tiny", RECIPE, &overrides).unwrap();
    let options = TrainOptions { progress: ProgressMode::Quiet, ..TrainOptions::new(out) };
    let before = host_reads();
    train_detector(&recipe, &device(), &options).unwrap();
    host_reads() - before
}

/// What three steps more cost, so that reads at the end of a run cancel.
fn reads_of_three_steps(overrides: &[&str]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let short = reads_of_run(overrides, 2, &folder.path().join("short"));
    assert!(short > 2, "the evaluation and the checkpoint read too: {short}");
    reads_of_run(overrides, 5, &folder.path().join("long")) - short
}

#[test]
fn a_step_of_faster_rcnn_reads_proposals_and_losses() {
    assert_eq!(reads_of_three_steps(&TWO_STAGES), 3 * 2);
}

#[test]
fn a_step_of_mask_rcnn_reads_proposals_and_losses() {
    let masks = ["model.kind=mask-rcnn", "model.mask_head={ num_convs = 1, channels = 8 }"];
    assert_eq!(reads_of_three_steps(&[&TWO_STAGES[..], &masks].concat()), 3 * 2);
}

#[test]
fn a_step_of_retinanet_reads_losses_alone() {
    let retinanet = ["model.kind=retinanet", "model.head.num_convs=1"];
    assert_eq!(reads_of_three_steps(&retinanet), 3);
}
