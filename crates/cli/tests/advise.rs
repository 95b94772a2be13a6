//! `longtail advise`: sets of three shapes give three recipes, and each of them trains.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn longtail(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.current_dir(folder).args(args).output().unwrap()
}

#[track_caller]
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = longtail(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(folder: &Path, args: &[&str]) -> String {
    let output = longtail(folder, args);
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// `set/{train,test}/CLASS/*.png` with so many training images of each class, two test images.
fn class_folders(folder: &Path, counts: &[usize]) {
    let image = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/noise.png")).unwrap();
    for (class, &count) in counts.iter().enumerate() {
        for (part, count) in [("train", count), ("test", 2)] {
            let class = folder.join(format!("set/{part}/{class}"));
            fs::create_dir_all(&class).unwrap();
            for index in 0..count {
                fs::write(class.join(format!("{index}.png")), &image).unwrap();
            }
        }
    }
}

#[test]
fn classification_of_three_shapes() {
    for (counts, shape, method) in [
        ([8, 8], "balanced: 2 classes", "cross-entropy"),
        ([12, 4], "mildly unequal: 2 classes", "logit-adjustment"),
        ([40, 2], "long-tailed: 2 classes", "balanced-softmax"),
    ] {
        let folder = TempDir::new().unwrap();
        class_folders(folder.path(), &counts);
        let text = succeeds(folder.path(), &["advise", "set", "--out", "advice.toml"]);
        assert!(text.starts_with(shape), "{text}");
        let recipe = fs::read_to_string(folder.path().join("advice.toml")).unwrap();
        assert!(recipe.contains(&format!("\n[loss]\nmethod = \"{method}\"\n")), "{recipe}");
        succeeds(
            folder.path(),
            &["train", "advice.toml", "--out", "run", "--set", "epochs=1", "--set", "batch_size=8"],
        );
        assert!(folder.path().join("run/report.md").exists());
    }
}

#[test]
fn detection_with_a_long_tail() {
    let folder = TempDir::new().unwrap();
    let small =
        ["--classes", "30", "--train-images", "60", "--head-count", "50", "--test-instances", "1"];
    let synth = [&["data", "synth", "set", "--image-size", "64"], &small[..]].concat();
    succeeds(folder.path(), &synth);
    let set = [
        "--annotations",
        "set/annotations/lvis_train.json",
        "--images",
        "set/images/train",
        "--val",
        "set/annotations/lvis_val.json",
        "--val-images",
        "set/images/val",
    ];
    let text = succeeds(folder.path(), &[&["advise", "--out", "advice.toml"], &set[..]].concat());
    for words in ["long-tailed: 30 classes", "method = \"balanced-sigmoid\"", "image-count-at-most"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let quick = [
        "train",
        "advice.toml",
        "--out",
        "run",
        "--set",
        "iterations=1",
        "--set",
        "batch_size=1",
        "--set",
        "transforms.preprocess.resize.min=64",
        "--set",
        "model.backbone.architecture=resnet18",
    ];
    succeeds(folder.path(), &quick);
    assert!(folder.path().join("run/report.md").exists());
}

#[test]
fn sets_that_cannot_be_read_are_named() {
    let folder = TempDir::new().unwrap();
    let message = fails(folder.path(), &["advise", "nowhere"]);
    assert!(message.contains("nowhere/train is no folder"), "{message}");
    let message = fails(folder.path(), &["advise"]);
    assert!(message.contains("--annotations"), "{message}");
    let message = fails(folder.path(), &["advise", "--voc", "nowhere"]);
    assert!(message.contains("nowhere"), "{message}");
    class_folders(folder.path(), &[2, 2]);
    let message = fails(folder.path(), &["advise", "set", "--weights", "x.pth"]);
    assert!(message.contains("--weights x.pth"), "{message}");
}
