//! Bad input: the message names value and place, the exit code is not 0, nothing is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{longtail, refuses, write_images};
use tempfile::TempDir;

/// A recipe on class folders in the current directory.
const RECIPE: &str = r#"
batch_size = 4
epochs = 1
dataset.source = { kind = "class-folders", root = "images" }
model.backbone = "cifar-resnet20"
optimizer = { kind = "sgd", lr = 0.1 }
"#;

/// A folder with a recipe and two classes of three images each for training and for testing.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    for class in ["train/cat", "train/dog", "test/cat", "test/dog"] {
        let class = folder.path().join("images").join(class);
        write_images(&class, &["0.png", "1.png", "2.png"]);
    }
    folder
}

fn train_refuses(folder: &Path, parts: &[&str]) {
    refuses(folder, &["train", "recipe.toml", "--quiet"], parts);
}

#[test]
fn the_recipe_itself_trains() {
    let folder = workplace();
    let output = longtail(folder.path(), &["train", "recipe.toml", "--quiet"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("runs/recipe/report.json").exists());
}

#[test]
fn unknown_recipe_key() {
    let folder = workplace();
    let recipe = format!("epoch = 3\n{RECIPE}");
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    train_refuses(folder.path(), &["recipe.toml", "line 1", "unknown field `epoch`"]);
}

#[test]
fn wrong_type() {
    let folder = workplace();
    let recipe = RECIPE.replace("batch_size = 4", "batch_size = \"four\"");
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    train_refuses(folder.path(), &["recipe.toml", "line 2", "batch_size", "\"four\""]);
}

#[test]
fn missing_recipe_and_missing_folder() {
    let folder = workplace();
    refuses(folder.path(), &["train", "none.toml"], &["none.toml"]);
    fs::remove_dir_all(folder.path().join("images/test")).unwrap();
    train_refuses(folder.path(), &["images/test"]);
}

#[test]
fn empty_class_folder() {
    let folder = workplace();
    fs::create_dir(folder.path().join("images/train/ant")).unwrap();
    train_refuses(folder.path(), &["images/train/ant"]);
}

#[test]
fn truncated_jpeg_and_non_image_file() {
    let folder = workplace();
    let image = folder.path().join("images/train/dog/1.jpg");
    let jpeg = include_bytes!("data/noise.jpg");
    fs::write(&image, &jpeg[..jpeg.len() / 2]).unwrap();
    train_refuses(folder.path(), &["images/train/dog/1.jpg"]);
    fs::write(&image, "not an image").unwrap();
    train_refuses(folder.path(), &["images/train/dog/1.jpg"]);
}

#[test]
fn label_outside_the_range_of_a_list_file() {
    let folder = workplace();
    fs::write(folder.path().join("train.txt"), "train/cat/0.png 0\ntrain/dog/0.png x\n").unwrap();
    let recipe = RECIPE.replace(
        r#"{ kind = "class-folders", root = "images" }"#,
        r#"{ kind = "list", root = "images", train = "train.txt", test = "test.txt" }"#,
    );
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    fs::write(folder.path().join("test.txt"), "test/cat/0.png 0\ntest/dog/0.png 1\n").unwrap();
    train_refuses(folder.path(), &["train.txt", "line 2", "x"]);
    fs::write(folder.path().join("train.txt"), "train/cat/0.png 0\ntrain/dog/0.png 1\n").unwrap();
    fs::write(folder.path().join("test.txt"), "test/cat/0.png 0\ntest/dog/0.png 2\n").unwrap();
    train_refuses(folder.path(), &["test.txt", "2", "label 2"]);
}

#[test]
fn devices() {
    let folder = workplace();
    let train = |device| vec!["train", "recipe.toml", "--device", device];
    refuses(folder.path(), &train("gpu"), &["unknown device \"gpu\"", "flex"]);
    refuses(folder.path(), &train("flex:7"), &["flex:7", "not usable"]);
    let check = ["devices", "--check", "--device", "gpu"];
    refuses(folder.path(), &check, &["unknown device \"gpu\"", "flex"]);
    refuses(folder.path(), &["devices", "--device", "flex"], &["--check"]);
    #[cfg(not(feature = "rocm"))]
    refuses(folder.path(), &train("rocm"), &["\"rocm\"", "--features rocm", "flex"]);
}

#[test]
fn checkpoint_of_another_architecture() {
    let folder = workplace();
    let train = ["train", "recipe.toml", "--quiet"];
    assert!(longtail(folder.path(), &train).status.success());
    let weights = fs::read(folder.path().join("runs/recipe/model.safetensors")).unwrap();
    let other = ["--set", "model.backbone=cifar-resnet32", "--resume"];
    let output = longtail(folder.path(), &[&train[..], &other].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["model.backbone", "cifar-resnet20", "cifar-resnet32"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let kept = fs::read(folder.path().join("runs/recipe/model.safetensors")).unwrap();
    assert!(kept == weights, "the refused command changed the run");
    let evaluate = ["evaluate", "runs/recipe", "--set", "model.backbone=cifar-resnet32"];
    let output = longtail(folder.path(), &evaluate);
    assert!(!output.status.success());
    assert_ne!(output.status.code(), Some(101), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A limit on the size of files stands for a full disk: every write past it fails.
#[test]
#[cfg(target_os = "linux")]
fn full_disk() {
    let folder = workplace();
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" train recipe.toml --quiet";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_longtail")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it cannot have written its weights");
    assert_ne!(output.status.code(), Some(101), "panicked: {message}");
    assert!(message.contains("runs/recipe/"), "{message}");
    assert!(!folder.path().join("runs/recipe").exists(), "partial output is left behind");
}
