//! What tests of the command share.
#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Runs `longtail` in a folder.
pub(crate) fn longtail(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// Runs `longtail`; it must succeed.
#[track_caller]
pub(crate) fn does(folder: &Path, arguments: &[&str]) -> String {
    let output = longtail(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `longtail`; it must fail with all `parts` in its message and leave no run in `runs/recipe`.
#[track_caller]
pub(crate) fn refuses(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let output = longtail(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert_ne!(output.status.code(), Some(101), "{arguments:?} panicked: {message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(!folder.join("runs/recipe").exists(), "a run folder is left behind: {message}");
}

/// Writes images of 32 x 32 pixels of noise into a folder, which is made.
pub(crate) fn write_images(folder: &Path, names: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    for name in names {
        fs::write(folder.join(name), include_bytes!("../data/noise.png")).unwrap();
    }
}

/// Two images of 32 x 32 pixels with three objects, in the form of COCO or LVIS.
pub(crate) fn annotations(is_lvis: bool) -> Value {
    let image = |id: u64, negative: u64| {
        let mut image =
            json!({"id": id, "width": 32, "height": 32, "file_name": format!("{id}.png")});
        if is_lvis {
            image["neg_category_ids"] = json!([negative]);
            image["not_exhaustive_category_ids"] = json!([]);
        }
        image
    };
    let object = |id: u64, image_id: u64, category_id: u64, x: f64| {
        json!({
            "id": id, "image_id": image_id, "category_id": category_id, "area": 192.0,
            "iscrowd": 0, "bbox": [x, 8.0, 12.0, 16.0],
            "segmentation": [[x, 8.0, x + 12.0, 8.0, x + 12.0, 24.0, x, 24.0]],
        })
    };
    let category = |id: u64, name: &str, frequency: &str| {
        json!({
            "id": id, "name": name, "frequency": frequency, "image_count": 1, "instance_count": 1,
        })
    };
    json!({
        "info": {},
        "images": [image(7, 5), image(9, 3)],
        "annotations": [object(1, 7, 3, 4.0), object(2, 7, 3, 16.0), object(3, 9, 5, 8.0)],
        "categories": [category(3, "owl", "f"), category(5, "wren", "r")],
    })
}

/// How many pictures a page shows.
pub(crate) fn num_pictures(html: &str) -> usize {
    html.matches("src=\"data:image/jpeg;base64,").count()
}
