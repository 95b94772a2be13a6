//! A disk that fills up while a run writes: a clear error, the old checkpoint whole, and the run
//! goes on once there is room.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Two checkpoints on the way, of 2.2 MB each.
const RECIPE: &str = r#"
seed = 5
batch_size = 8
iterations = 6
dataset.source = { kind = "synthetic", head_count = 20, imbalance = 4.0, test_count = 2 }
model.backbone = "cifar-resnet20"
optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9 }
evaluation.every_epochs = 0
run = { threads = 1, workers = 1, checkpoint_every = 2, log_every = 1 }
"#;

/// A file system in memory of so many bytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` with a message where it cannot be mounted, as without being root.
    fn new(folder: &Path, bytes: u64) -> Option<Self> {
        let disk = Self(folder.join("disk"));
        fs::create_dir(&disk.0).unwrap();
        if disk.mount("size", bytes) {
            return Some(disk);
        }
        eprintln!("skipped: a small file system cannot be mounted here");
        std::mem::forget(disk);
        None
    }

    fn mount(&self, options: &str, bytes: u64) -> bool {
        let options = format!("{options}={bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&self.0);
        command.output().is_ok_and(|output| output.status.success())
    }

    fn grow(&self, bytes: u64) {
        assert!(self.mount("remount,size", bytes));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

fn train(recipe: &Path, out: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.arg("train").arg(recipe).arg("--quiet").arg("--out").arg(out).args(arguments);
    command.output().unwrap()
}

#[track_caller]
fn refused(output: &Output, file: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(file) && message.contains("No space left on device"), "{message}");
}

/// A run that is not disturbed, its folder, and the length of its checkpoint.
fn undisturbed() -> (TempDir, PathBuf, PathBuf, u64) {
    let folder = TempDir::new().unwrap();
    let recipe = folder.path().join("recipe.toml");
    fs::write(&recipe, RECIPE).unwrap();
    let whole = folder.path().join("whole");
    let output = train(&recipe, &whole, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let length = fs::metadata(whole.join("last.safetensors")).unwrap().len();
    (folder, recipe, whole, length)
}

#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_one_before() {
    let (folder, recipe, whole, length) = undisturbed();
    // Room for one checkpoint, not for the next beside it.
    let Some(disk) = SmallDisk::new(folder.path(), length + length / 2) else { return };
    let run = disk.0.join("run");
    refused(&train(&recipe, &run, &[]), "last.safetensors");
    let kept = fs::read(run.join("last.safetensors")).unwrap();
    assert!(kept.len() as u64 > length / 2, "{} bytes are no checkpoint", kept.len());
    let names = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["last.safetensors", "metrics.jsonl", "recipe.toml"], "nothing half written");

    // Still full: refused again, and nothing is lost.
    refused(&train(&recipe, &run, &["--resume"]), "last.safetensors");
    assert!(fs::read(run.join("last.safetensors")).unwrap() == kept, "the old one has changed");

    disk.grow(20 * length);
    let output = train(&recipe, &run, &["--resume"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let weights = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(weights(&run) == weights(&whole), "the weights differ from those of a run with room");
}

/// Metrics, weights and reports: whatever does not fit is named, and the run goes on later.
#[test]
fn every_amount_of_room_ends_in_an_error_or_a_result() {
    let (folder, recipe, whole, length) = undisturbed();
    let Some(disk) = SmallDisk::new(folder.path(), 64 * length) else { return };
    let run = disk.0.join("run");
    let filler = disk.0.join("filler");
    let expected = fs::read(whole.join("model.safetensors")).unwrap();
    let mut num_refused = 0;
    // Pages of 4096 bytes that are left for the run: from none to two checkpoints and a half.
    for pages in [0, 1, 2, 3, length / 4096 * 2 + 20, length / 4096 * 5 / 2] {
        let _ = fs::remove_dir_all(&run);
        disk.grow(64 * length);
        fs::write(&filler, vec![1; 4096]).unwrap();
        disk.grow((pages + 4) * 4096); // the folder and the filler take some
        let output = train(&recipe, &run, &[]);
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{pages} pages: {message}");
            assert!(message.contains("No space left on device"), "{pages} pages: {message}");
            num_refused += 1;
        }
        disk.grow(64 * length);
        let output = train(&recipe, &run, &["--resume"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{pages} pages, then room: {message}");
        assert!(fs::read(run.join("model.safetensors")).unwrap() == expected, "{pages} pages");
        assert!(run.join("report.json").exists());
    }
    assert!(num_refused >= 4, "{num_refused} runs were refused");
}
