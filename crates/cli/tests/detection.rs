//! A detector through the command line: data, training, evaluation, prediction; and bad input.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{annotations, does, longtail, refuses, write_images};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A recipe on `coco/*.json` with images in `coco`.
const RECIPE: &str = r#"
task = "detection"
batch_size = 2
iterations = 3
loss.method = "balanced-sigmoid"
optimizer = { kind = "sgd", lr = 0.005 }

[dataset.source]
kind = "coco"
train = "coco/train.json"
train_images = "coco"
val = "coco/train.json"
val_images = "coco"

[transforms]
preprocess = { resize = { rule = "shortest-edge", min = 64, max = 96 } }

[model]
kind = "mask-rcnn"
backbone = { architecture = "resnet18", norm = { kind = "batch" }, base_width = 16, frozen_stages = 0 }
fpn.channels = 16
rpn.anchor_sizes = [[8.0], [16.0], [32.0], [64.0], [128.0]]
rpn.train = { before_nms = 40, after_nms = 20 }
rpn.test = { before_nms = 40, after_nms = 20 }
rois.per_image = 16
box_head.layers = { kind = "two-fc", width = 32 }
mask_head = { num_convs = 1, channels = 8 }
detection.score_threshold = 0.0
"#;

/// The annotations after a change, two images and the recipe.
fn workplace(change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut annotations = annotations(true);
    change(&mut annotations);
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    write_images(&folder.path().join("coco"), &["7.png", "9.png"]);
    fs::write(folder.path().join("coco/train.json"), annotations.to_string()).unwrap();
    folder
}

/// What `data check` says of the annotations: whether they can be used, and how many problems of
/// which kind there are.
fn check(folder: &Path) -> (bool, Vec<String>) {
    let output = longtail(
        folder,
        &["data", "check", "--annotations", "coco/train.json", "--images", "coco", "--json"],
    );
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let problems = report["problems"].as_array().unwrap().iter();
    let kinds = problems.map(|problem| problem["kind"].as_str().unwrap().to_string()).collect();
    (output.status.success(), kinds)
}

const TRAIN: [&str; 3] = ["train", "recipe.toml", "--quiet"];

#[test]
fn a_detector_from_annotations_to_drawn_predictions() {
    let workplace = workplace(|_| ());
    let folder = workplace.path();
    let result: Value =
        serde_json::from_str(&does(folder, &[&TRAIN[..], &["--json"]].concat())).unwrap();
    assert_eq!(result["boxes"]["protocol"]["benchmark"], "lvis");
    assert!(result["masks"]["metrics"]["AP"].is_number());
    for file in ["report.json", "masks/report.json", "model.safetensors", "training_curves.svg"] {
        assert!(folder.join("runs/recipe").join(file).exists(), "{file}");
    }
    let again = does(folder, &["evaluate", "runs/recipe", "--json", "--out", "again"]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), result);
    assert!(folder.join("again/masks/report.md").exists());

    let predict = ["predict", "--run", "runs/recipe", "coco/7.png", "coco/9.png"];
    let drawn = [&predict[..], &["--out", "drawn", "--min-score", "0.0", "--json"]].concat();
    let found: Value = serde_json::from_str(&does(folder, &drawn)).unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[1]["width"]), (2, &json!(32)));
    let beside: Value =
        serde_json::from_slice(&fs::read(folder.join("drawn/9.json")).unwrap()).unwrap();
    assert_eq!(beside, found[1]);
    assert!(fs::read(folder.join("drawn/7.png")).unwrap().starts_with(b"\x89PNG"));
    let two = ["predict", "--run", "runs/recipe", "coco/7.png", "drawn/7.png", "--out", "x"];
    let output = longtail(folder, &two);
    assert!(!output.status.success() && !folder.join("x").exists());

    // The predictions of one image as a results file, against its annotations.
    let objects = found[0]["detections"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        object["image_id"] = json!(7);
        object
    });
    let results = Value::Array(objects.collect());
    fs::write(folder.join("results.json"), results.to_string()).unwrap();
    let files = ["evaluate", "--annotations", "coco/train.json", "--detections", "results.json"];
    for extra in [&["--iou", "segm"][..], &["--protocol", "coco"]] {
        let text = does(folder, &[&files[..], extra, &["--json"]].concat());
        assert!(serde_json::from_str::<Value>(&text).unwrap()["metrics"]["AP"].is_number());
    }

    let exported = does(folder, &["weights", "export", "runs/recipe", "--out", "out.safetensors"]);
    assert!(exported.contains("out.safetensors"));
    assert_eq!(
        fs::read(folder.join("out.safetensors")).unwrap(),
        fs::read(folder.join("runs/recipe/model.safetensors")).unwrap()
    );
}

#[test]
fn sets_are_made_counted_checked_and_converted() {
    let workplace = workplace(|_| ());
    let folder = workplace.path();
    let annotations = ["--annotations", "coco/train.json"];
    let stats = does(folder, &[&["data", "stats"][..], &annotations].concat());
    assert!(stats.contains("1 frequent, 0 common, 1 rare"), "{stats}");
    assert_eq!(check(folder), (true, vec![]));
    does(folder, &[&["data", "convert"][..], &annotations, &["--out", "copy.json"]].concat());
    let stats = |file| does(folder, &["data", "stats", "--annotations", file, "--json"]);
    assert_eq!(stats("copy.json"), stats("coco/train.json"));

    let synth = ["data", "synth", "drawn", "--train-images", "6", "--head-count", "4"];
    let small = ["--classes", "3", "--test-instances", "2", "--image-size", "64"];
    assert!(does(folder, &[&synth[..], &small].concat()).contains("polygons"));
    let drawn = ["data", "check", "--annotations", "drawn/annotations/lvis_train.json"];
    does(folder, &[&drawn[..], &["--images", "drawn/images/train", "--files", "decode"]].concat());
    refuses(folder, &synth, &["drawn"]);
    refuses(folder, &["data", "check"], &["--annotations"]);
}

#[test]
fn annotations_that_are_no_annotations() {
    let workplace = workplace(|_| ());
    let folder = workplace.path();
    let path = folder.join("coco/train.json");
    let text = fs::read_to_string(&path).unwrap();
    for (content, part) in [
        (&text[..text.len() / 2], "train.json"),
        ("no JSON at all", "train.json"),
        ("[1, 2]", "train.json"),
        ("{}", "images"),
    ] {
        fs::write(&path, content).unwrap();
        refuses(folder, &TRAIN, &[part]);
    }
    fs::remove_file(&path).unwrap();
    refuses(folder, &TRAIN, &["train.json"]);
}

/// A change of the annotations, and what a strict reader says about it. A lenient one goes on.
type Case = (fn(&mut Value), &'static [&'static str]);

#[test]
fn bad_annotations_are_refused_or_counted() {
    let cases: [Case; 12] = [
        (|all| all["images"][0]["width"] = json!("eight"), &["images", "width"]),
        (|all| all["annotations"][1]["image_id"] = json!(8), &["8"]),
        (|all| all["images"][1]["file_name"] = json!("none.png"), &["none.png"]),
        (|all| all["images"][0]["height"] = json!(36), &["7.png", "36"]),
        (|all| all["annotations"][0]["bbox"] = json!([4.0, 2.0, -3.0, 4.0]), &["-3"]),
        (|all| all["annotations"][0]["bbox"] = json!([40.0, 2.0, 3.0, 4.0]), &["40"]),
        (|all| all["annotations"][0]["segmentation"] = json!([[1.0, 2.0]]), &["annotation"]),
        (
            |all| {
                let runs = json!({"size": [4, 4], "counts": [2, 14]});
                all["annotations"][0]["segmentation"] = runs;
            },
            &["4"],
        ),
        (|all| all["annotations"][1]["id"] = json!(1), &["1"]),
        (|all| all["images"][1]["id"] = json!(7), &["7"]),
        (|all| all["annotations"][2]["category_id"] = json!(4), &["4"]),
        (
            |all| {
                all["images"][1].as_object_mut().unwrap().remove("neg_category_ids");
            },
            &["neg_category_ids"],
        ),
    ];
    for (number, (change, parts)) in cases.into_iter().enumerate() {
        let workplace = workplace(change);
        let (is_usable, kinds) = check(workplace.path());
        assert!(!is_usable && !kinds.is_empty(), "case {number}: {kinds:?}");
        refuses(workplace.path(), &TRAIN, parts);
        // One image may be all that is left.
        let lenient = ["--set", "dataset.lenient=true", "--set", "batch_size=1"];
        let printed = does(workplace.path(), &[&TRAIN[..], &lenient].concat());
        assert!(printed.contains("left out: see left_out.txt"), "case {number}: {printed}");
        let list = workplace.path().join("runs/recipe/left_out.txt");
        assert!(fs::read_to_string(list).unwrap().contains(": "), "case {number}");
    }
}

#[test]
fn real_sets_have_empty_boxes_and_images_without_objects() {
    let workplace = workplace(|all| {
        all["annotations"][0]["bbox"] = json!([4.0, 2.0, 0.0, 4.0]);
        all["annotations"][2]["image_id"] = json!(7);
    });
    let (is_usable, kinds) = check(workplace.path());
    assert!(is_usable && kinds.len() == 2, "{kinds:?}");
    does(workplace.path(), &TRAIN);
}

#[test]
fn sets_without_categories_or_images_are_refused() {
    for list in ["categories", "images"] {
        let workplace = workplace(|all| {
            all[list] = json!([]);
            all["annotations"] = json!([]);
        });
        refuses(workplace.path(), &TRAIN, &[]);
    }
}

#[test]
fn bad_recipes_and_files() {
    let workplace = workplace(|_| ());
    let folder = workplace.path();
    let set = |change| [&TRAIN[..], &["--set", change]].concat();
    refuses(folder, &set("epochs=3"), &["unknown field `epochs`", "`iterations`"]);
    refuses(folder, &set("loss.method=cross-entropy"), &["background"]);
    refuses(folder, &set("model.kind=yolo"), &["yolo", "`retinanet`"]);
    refuses(folder, &set("model.mask_head.channel=8"), &["channel"]);
    refuses(folder, &set("init.path=none.pth"), &["none.pth"]);
    refuses(folder, &set("init.path=coco/train.json"), &["train.json"]);
    refuses(folder, &set("batch_size=50"), &["batch_size", "50"]);
    refuses(folder, &set("task=segmentation"), &["segmentation"]);
    refuses(folder, &["evaluate", "runs/recipe"], &["runs/recipe"]);
    let files = ["evaluate", "--annotations", "coco/train.json", "--detections"];
    refuses(folder, &[&files[..], &["none.json"]].concat(), &["none.json"]);
    fs::write(folder.join("results.json"), "[{\"image_id\": 8}]").unwrap();
    refuses(folder, &[&files[..], &["results.json"]].concat(), &["results.json"]);
    refuses(folder, &["evaluate", "--annotations", "coco/train.json"], &["--detections"]);
}
