//! A run that is killed at random moments ends with the weights of one that is not.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the run is killed.
const NUM_KILLS: u32 = 20;

/// Everything that a checkpoint must carry: momentum, average of weights, loss state, batch norm.
const RECIPE: &str = r#"
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

fn train(folder: &Path, out: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.args(["train", "recipe.toml", "--resume", "--quiet", "--out", out]);
    command.current_dir(folder).stdout(Stdio::null());
    command
}

#[test]
fn twenty_kills_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
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
