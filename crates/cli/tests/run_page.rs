//! `longtail report`: the page of a run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{does, longtail, num_pictures, write_images};
use tempfile::TempDir;

const DETECTOR: &str = r#"
task = "detection"
batch_size = 2
iterations = 4
loss.method = "balanced-sigmoid"
optimizer = { kind = "sgd", lr = 0.005 }
run = { log_every = 1, workers = 1 }

[dataset.source]
kind = "synthetic"
num_classes = 4
train_images = 20
head_count = 15
test_instances = 3

[transforms]
preprocess = { resize = { rule = "none" } }

[model]
kind = "faster-rcnn"
backbone = { architecture = "resnet18", norm = { kind = "batch" }, base_width = 8, frozen_stages = 0 }
fpn.channels = 8
rpn.anchor_sizes = [[8.0], [16.0], [32.0], [64.0], [128.0]]
rpn.test = { before_nms = 40, after_nms = 20 }
rois.per_image = 16
box_head.layers = { kind = "two-fc", width = 16 }
detection.score_threshold = 0.0
"#;

const CLASSIFIER: &str = r#"
batch_size = 4
iterations = 2
loss.method = "cross-entropy"
optimizer = { kind = "sgd", lr = 0.01 }
model.backbone = "cifar-resnet20"
run = { log_every = 1, workers = 1 }

[dataset.source]
kind = "class-folders"
root = "photos"
"#;

#[test]
fn the_page_of_a_detector_shows_its_errors() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    fs::write(folder.join("run.toml"), DETECTOR).unwrap();
    does(folder, &["train", "run.toml", "--quiet"]);
    let printed = does(folder, &["report", "runs/run"]);
    assert!(printed.starts_with("runs/run/report.html: "), "{printed}");
    let html = fs::read_to_string(folder.join("runs/run/report.html")).unwrap();
    for part in [
        "Average precision by class frequency",
        "<h3>Background</h3>",
        "<h3>Missed objects of",
        "<h2 id=\"training\">Training</h2>",
        "<th scope=\"col\">AP50, %</th>",
        "How it was measured",
    ] {
        assert!(html.contains(part), "{part} is not in the page");
    }
    assert!(num_pictures(&html) > 5);

    // Nothing about it is by chance, and room for pictures can be taken away.
    does(folder, &["report", "runs/run", "--out", "again.html"]);
    assert_eq!(fs::read_to_string(folder.join("again.html")).unwrap(), html);
    does(folder, &["report", "runs/run", "--out", "small.html", "--max-mb", "0.01"]);
    let small = fs::read_to_string(folder.join("small.html")).unwrap();
    assert!(num_pictures(&small) < 5 && small.contains("--max-mb gives them room"));
}

#[test]
fn the_page_of_a_classifier_shows_its_surest_mistakes() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    for split in ["train", "test"] {
        for class in ["<b>owl", "wren"] {
            let class = folder.join("photos").join(split).join(class);
            write_images(&class, &["0.png", "1.png", "2.png"]);
        }
    }
    fs::write(folder.join("run.toml"), CLASSIFIER).unwrap();
    does(folder, &["train", "run.toml", "--quiet"]);
    does(folder, &["report", "runs/run", "--out", "page.html"]);
    let html = fs::read_to_string(folder.join("page.html")).unwrap();
    // Both classes have the same picture, so that one of them is always wrong.
    assert_eq!(num_pictures(&html), 3);
    assert!(html.contains("Most frequent confusions") && html.contains("&lt;b&gt;owl"));
    assert!(!html.contains("<b>owl"));

    for (arguments, part) in [
        (&["report", "nowhere"][..], "nowhere"),
        (&["report", "runs/run", "--side", "0"], "0 is not in 1..=1024"),
        (&["evaluate", "runs/run", "--results", "x"], "runs/run is a classifier"),
    ] {
        let output = longtail(folder, arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(part), "{arguments:?}: {message}");
    }
}
