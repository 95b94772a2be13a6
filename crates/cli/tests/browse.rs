//! `longtail data browse`: one page from every form of data set.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{longtail, num_pictures, write_images};
use serde_json::json;
use tempfile::TempDir;

fn browse(folder: &Path, arguments: &[&str]) -> Output {
    longtail(folder, &[&["data", "browse", "--out", "page.html"], arguments].concat())
}

/// The page and what was printed.
#[track_caller]
fn page(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = browse(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    let html = fs::read_to_string(folder.join("page.html")).unwrap();
    is_sound(&html);
    (html, String::from_utf8(output.stdout).unwrap())
}

/// Tags are closed in order, nothing is fetched, and the one script is the page's own.
#[track_caller]
fn is_sound(html: &str) {
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    assert_eq!(html.matches("<script").count(), 1);
    let without_data = html.replace("http://www.w3.org/2000/svg", "");
    for part in ["http://", "https://", "src=\"/", "@import", "<link"] {
        assert!(!without_data.contains(part), "{part}");
    }
    let body = &html[html.find("<body>").unwrap()..html.find("<script>").unwrap()];
    let mut open: Vec<&str> = Vec::new();
    for tag in body.split('<').skip(1) {
        let inside = &tag[..tag.find('>').unwrap()];
        let name = inside.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if inside.ends_with('/') || ["img", "br", "input"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, ["body"]);
}

#[test]
fn class_folders_and_lists_whose_names_are_tags() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    for (class, images) in [("<b>owl", &["0.png", "1.png", "2.png"][..]), ("wren&co", &["0.png"])] {
        write_images(&folder.join("birds").join(class), images);
    }
    let (html, printed) = page(folder, &["birds", "--per-class", "2"]);
    assert!(html.contains("<h3>&lt;b&gt;owl</h3>") && html.contains("<h3>wren&amp;co</h3>"));
    assert_eq!(num_pictures(&html), 3);
    assert!(printed.starts_with("page.html: 2 classes, 3 pictures, 0.0 MB"), "{printed}");

    let list = "<b>owl/0.png 0\n<b>owl/1.png 0\nwren&co/0.png 1\n";
    fs::write(folder.join("train.txt"), list).unwrap();
    let (html, _) = page(folder, &["--list", "train.txt", "--root", "birds"]);
    assert_eq!(num_pictures(&html), 3);
    let (html, _) = page(folder, &["birds", "--per-class", "0"]);
    assert_eq!(num_pictures(&html), 0);

    // A picture that cannot be decoded is a note, not the end.
    fs::write(folder.join("birds/wren&co/0.png"), "no image").unwrap();
    let (html, printed) = page(folder, &["birds"]);
    assert_eq!(num_pictures(&html), 3);
    assert!(printed.contains("1 pictures could not be made") && html.contains("wren&amp;co/0.png"));
}

/// Two images, three objects, of which one lies outside of its image.
fn coco(folder: &Path) {
    let image =
        |id: u64| json!({"id": id, "width": 32, "height": 32, "file_name": format!("{id}.png")});
    let object = |id: u64, image: u64, class: u64, x: f64| {
        json!({"id": id, "image_id": image, "category_id": class, "bbox": [x, 8.0, 12.0, 16.0],
               "segmentation": [[x, 8.0, x + 12.0, 8.0, x + 12.0, 24.0, x, 24.0]]})
    };
    let annotations = json!({
        "images": [image(7), image(9)],
        "annotations": [object(1, 7, 3, 4.0), object(2, 7, 3, 16.0), object(3, 9, 5, 8.0),
                        object(4, 9, 5, 90.0)],
        "categories": [{"id": 3, "name": "<script>alert(1)</script>"}, {"id": 5, "name": "wren"}],
    });
    fs::write(folder.join("train.json"), annotations.to_string()).unwrap();
    write_images(folder, &["7.png", "9.png"]);
}

#[test]
fn boxes_problems_filters_and_room() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    coco(folder);
    let set = ["--annotations", "train.json", "--images", "."];
    let (html, _) = page(folder, &set);
    assert_eq!(num_pictures(&html), 3);
    for part in [
        "<h3>&lt;script&gt;alert(1)&lt;/script&gt;</h3>",
        "<dt>objects</dt><dd>3</dd>",
        "<span class=\"error\">error</span> boxes outside of their image (1)",
        "Sizes and shapes of the boxes",
        "12 × 16 px",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let (again, _) = page(folder, &[&set[..], &["--seed", "0"]].concat());
    assert_eq!(again, html);

    let (html, printed) = page(folder, &[&set[..], &["--classes", "WREN"]].concat());
    assert_eq!(num_pictures(&html), 1);
    assert!(printed.contains("Pictures of 1 of 2 classes"), "{printed}");

    // Less room than pictures: a line about those left out.
    let (html, printed) = page(folder, &[&set[..], &["--max-mb", "0.005"]].concat());
    let shown = num_pictures(&html);
    assert!(shown < 3 && html.len() < 60_000);
    let left = format!("{} of 3 pictures are left out", 3 - shown);
    assert!(printed.contains(&left) && html.contains(&left), "{printed}");

    // Without a folder of images there are no pictures, and a reason.
    let (html, printed) = page(folder, &["--annotations", "train.json"]);
    assert_eq!(num_pictures(&html), 0);
    assert!(printed.contains("3 pictures could not be made"), "{printed}");
}

#[test]
fn recipes_of_drawn_sets_and_refusals() {
    let workplace = TempDir::new().unwrap();
    let folder = workplace.path();
    let recipe = r#"
task = "detection"
batch_size = 1
iterations = 1
loss.method = "balanced-sigmoid"
optimizer = { kind = "sgd", lr = 0.005 }
model.kind = "faster-rcnn"
[dataset.source]
kind = "synthetic"
num_classes = 5
train_images = 30
head_count = 20
test_instances = 2
"#;
    fs::write(folder.join("drawn.toml"), recipe).unwrap();
    let (html, printed) = page(folder, &["--recipe", "drawn.toml", "--per-class", "1"]);
    assert_eq!(num_pictures(&html), 5, "{printed}");

    coco(folder);
    let set = ["--annotations", "train.json", "--images", "."];
    for (arguments, part) in [
        (&[][..], "give a folder, --recipe, --list"),
        (
            &[&set[..], &["--classes", "eagle"]].concat()[..],
            "--classes eagle: the name of no class",
        ),
        (&[&set[..], &["--max-mb=-1"]].concat()[..], "--max-mb"),
        (&[&set[..], &["--side", "0"]].concat()[..], "--side 0"),
        (&["nowhere"][..], "nowhere"),
    ] {
        let output = browse(folder, arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(part), "{arguments:?}: {message}");
    }
}
