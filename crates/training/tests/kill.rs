//! A training process that is killed (SIGKILL) at random moments ends in the same weights.
//!
//! `LONGTAIL_KILLS` sets the number of kills; default 6.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{recipe, write_images};
use longtail_testing::device;
use longtail_training::{Outcome, ProgressMode, TrainOptions, train};

/// Names the folder in which the child process of this test works.
const FOLDER: &str = "LONGTAIL_TEST_KILLED_RUN";

fn run(folder: &Path, out: &str) -> Outcome {
    let overrides = ["epochs=12", "run.checkpoint_every=3", "loss.method=eql-v2", "ema.decay=0.9"];
    let recipe = recipe(&folder.join("data"), &overrides);
    let mut options = TrainOptions::new(folder.join(out));
    (options.resume, options.progress) = (true, ProgressMode::Quiet);
    train(&recipe, &device(), &options).unwrap()
}

/// What the child does; by itself it does nothing.
#[test]
fn child() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        run(Path::new(&folder), "killed");
    }
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(FOLDER, folder).stdout(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_killed_run_ends_in_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(&folder.join("data"));
    let start = Instant::now();
    run(folder, "whole");
    let duration = start.elapsed();

    let num_kills: u32 = std::env::var("LONGTAIL_KILLS").map_or(6, |value| value.parse().unwrap());
    let mut random = 7_u64;
    let mut is_done = false;
    for _ in 0..num_kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let share = (random >> 40) as f64 / f64::from(1 << 24);
        let mut child = spawn(folder);
        std::thread::sleep(duration.mul_f64(share).max(Duration::from_millis(20)));
        child.kill().unwrap(); // SIGKILL; nothing if it has already ended
        is_done = child.wait().unwrap().success();
    }
    if !is_done {
        assert!(spawn(folder).wait().unwrap().success());
    }

    for name in ["model.safetensors", "report.json"] {
        let read = |run: &str| fs::read(folder.join(run).join(name)).unwrap();
        assert!(read("whole") == read("killed"), "{name} differs after {num_kills} kills");
    }
    let lines = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
        let without_speed = |line: &str| line.split(",\"images_per").next().unwrap().to_string();
        text.lines().map(without_speed).collect()
    };
    assert_eq!(lines("whole"), lines("killed"));
}
