//! Sets written as VOC and YOLO folders come back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use longtail_data::{
    DetectionDataset, DetectionDatasetBuilder, FolderForm, NewAnnotation, ReadOptions, RgbImage,
    Split, SyntheticDetectionConfig,
};
use longtail_types::{BBox, ClassMap, Instance};

fn drawn(split: Split) -> DetectionDataset {
    let config = SyntheticDetectionConfig {
        num_classes: 6,
        train_images: 12,
        head_count: 10,
        test_instances: 2,
        ..SyntheticDetectionConfig::default()
    };
    config.generate(split).unwrap()
}

/// Names of the classes and boxes of every image, in the order of the images.
fn contents(set: &DetectionDataset) -> Vec<Vec<(String, [f32; 4])>> {
    let entry = |instance: &Instance| {
        let name = set.class_map().name(instance.label).unwrap().to_owned();
        (name, instance.bbox.to_array())
    };
    (0..set.num_images())
        .map(|index| set.box_instances(index).iter().map(entry).collect())
        .collect()
}

#[test]
fn both_forms_come_back_with_boxes_names_and_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    for (form, name) in [(FolderForm::Voc, "voc"), (FolderForm::Yolo, "yolo")] {
        let root = folder.path().join(name);
        for (split, name) in [(Split::Train, "train"), (Split::Test, "val")] {
            drawn(split).write_folder(&root, name, form).unwrap();
        }
        for (split, name) in [(Split::Train, "train"), (Split::Test, "val")] {
            let expected = drawn(split);
            let set = match form {
                FolderForm::Voc => DetectionDataset::read_voc(&root, Some(name), None, &options),
                FolderForm::Yolo => DetectionDataset::read_yolo(&root, Some(name), &options),
            };
            let set = set.unwrap();
            assert_eq!(set.num_images(), expected.num_images());
            for (found, expected) in contents(&set).iter().zip(contents(&expected)) {
                assert_eq!(found.len(), expected.len());
                for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
                    assert_eq!(*name, expected_name);
                    // YOLO: eight decimals of 96 pixels.
                    let is_near = |(a, b): (&f32, f32)| (a - b).abs() < 2e-5;
                    assert!(found.iter().zip(expected).all(is_near), "{found:?} {expected:?}");
                }
            }
            let last = set.num_images() - 1;
            assert_eq!(set.load(last).unwrap(), expected.load(last).unwrap());
        }
    }
}

/// Two images of 8 x 6 pixels with an object of each given class and, in the second, a crowd.
fn small(names: &[&str]) -> DetectionDataset {
    let classes = ClassMap::from_names(names.iter().copied()).unwrap();
    let mut builder = DetectionDatasetBuilder::new(classes);
    for id in 1..=2 {
        let image = builder.add_pixels(id, RgbImage::filled(8, 6, [7; 3])).unwrap();
        for label in 0..names.len() {
            let bbox = BBox::new(1.0, 2.0, 5.5, 6.0);
            let is_crowd = id == 2;
            let new = NewAnnotation { label, bbox, is_crowd, ..Default::default() };
            builder.annotate(image, new).unwrap();
        }
    }
    builder.build().unwrap()
}

#[test]
fn names_and_crowds() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["cat & dog", "<b>", "it's: 7#"];
    let voc = folder.path().join("voc");
    assert_eq!(small(&names).write_folder(&voc, "all", FolderForm::Voc).unwrap(), 0);
    let set = DetectionDataset::read_voc(&voc, Some("all"), None, &ReadOptions::default()).unwrap();
    let mut found: Vec<_> = set.class_map().names().collect();
    found.sort_by_key(|name| names.iter().position(|expected| expected == name));
    assert_eq!(found, names);
    assert!(set.annotations(1).iter().all(|annotation| annotation.is_ignored));
    let yolo = folder.path().join("yolo");
    assert_eq!(small(&names).write_folder(&yolo, "all", FolderForm::Yolo).unwrap(), 3);
    let set = DetectionDataset::read_yolo(&yolo, Some("all"), &ReadOptions::default()).unwrap();
    assert_eq!(set.class_map().names().collect::<Vec<_>>(), names);
    assert_eq!(contents(&set)[0][2].1, [1.0, 2.0, 5.5, 6.0]);
    assert!(contents(&set)[1].is_empty());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    let set = small(&["cat"]);
    let refusal = |set: &DetectionDataset, split: &str, form| {
        let error = set.write_folder(&root, split, form).unwrap_err().to_string();
        error.replace(&root.display().to_string(), "SET")
    };
    assert!(refusal(&set, "../x", FolderForm::Voc).contains("\"../x\" is no name of a split"));
    set.write_folder(&root, "train", FolderForm::Yolo).unwrap();
    let text = fs::read_to_string(root.join("data.yaml")).unwrap();
    assert_eq!(text, "path: .\nnames:\n  0: \"cat\"\ntrain: images/train\n");
    assert_eq!(refusal(&set, "train", FolderForm::Yolo), "SET/images/train: exists already");
    assert_eq!(
        refusal(&small(&["dog"]), "val", FolderForm::Yolo),
        "SET/data.yaml: names other classes than this set"
    );
    let quoted = refusal(&small(&["a \"b\""]), "val", FolderForm::Yolo);
    assert!(quoted.contains("no such name can be written"), "{quoted}");
    let padded = refusal(&small(&["cat", " dog"]), "val", FolderForm::Voc);
    assert_eq!(padded, "SET: class \" dog\": no such name can be written in this form");
    set.write_folder(&root, "train", FolderForm::Voc).unwrap();
    assert_eq!(
        refusal(&set, "train", FolderForm::Voc),
        "SET/ImageSets/Main/train.txt: exists already"
    );
}

/// Everything below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn nothing_is_left_of_a_split_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = DetectionDatasetBuilder::new(ClassMap::from_names(["cat"]).unwrap());
    builder.add_pixels(1, RgbImage::filled(8, 6, [7; 3])).unwrap();
    builder = builder.image_root(folder.path());
    builder.add_file(2, [6, 8], "missing.png").unwrap();
    let broken = builder.build().unwrap();
    for form in [FolderForm::Voc, FolderForm::Yolo] {
        let root = folder.path().join("set");
        let error = broken.write_folder(&root, "train", form).unwrap_err().to_string();
        assert!(error.contains("missing.png"), "{error}");
        assert!(!root.exists(), "{:?}", tree(&root));
        // Beside a split that is there: other names of images, since VOC keeps all in one folder.
        let mut others = DetectionDatasetBuilder::new(ClassMap::from_names(["cat"]).unwrap());
        others.add_pixels(9, RgbImage::filled(8, 6, [7; 3])).unwrap();
        others.build().unwrap().write_folder(&root, "val", form).unwrap();
        let before = tree(&root);
        broken.write_folder(&root, "train", form).unwrap_err();
        assert_eq!(tree(&root), before);
        fs::remove_dir_all(&root).unwrap();
    }
}
