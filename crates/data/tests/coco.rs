//! Real COCO and LVIS files against other readers, and masks against pycocotools.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use longtail_data::{DetectionDataset, FileCheck, ReadOptions};
use longtail_testing::development_data;
use longtail_types::{BBox, FrequencyGroup, Mask};
use serde_json::Value;

fn read(path: &Path) -> DetectionDataset {
    DetectionDataset::read_coco(path, &ReadOptions::default()).unwrap()
}

/// Pixels set, `sum (3 y + 7 x + 1)` over them, as xtask/reference/detection_data.py does.
fn checksum(mask: &Mask) -> (usize, usize) {
    let (mut count, mut sum) = (0, 0);
    for (i, _) in mask.pixels().iter().enumerate().filter(|(_, is_set)| **is_set) {
        let (x, y) = (mask.left() + i % mask.width(), mask.top() + i / mask.width());
        (count, sum) = (count + 1, sum + 3 * y + 7 * x + 1);
    }
    (count, sum % 1_000_003)
}

/// Printed by xtask/reference/detection_data.py: json, pycocotools and numpy.
#[test]
fn real_files_have_the_counts_and_masks_of_pycocotools() {
    let Some(root) = development_data("data/coco100") else { return };
    let annotations = root.join("annotations");
    // annotations, crowds, not exhaustive, mask pixels, checksum, images without targets
    let files = [
        ("instances_train", [745, 6, 0, 9_338_173, 333_951_581, 2]),
        ("instances_val", [712, 5, 0, 9_610_840, 327_687_000, 0]),
        ("lvis_train", [739, 0, 6, 9_286_807, 330_125_846, 2]),
        ("lvis_val", [707, 0, 5, 9_475_609, 326_400_807, 0]),
    ];
    for (name, expected) in files {
        let set = read(&annotations.join(format!("{name}.json")));
        assert_eq!((set.num_images(), set.num_classes()), (100, 80));
        let is_lvis = name.starts_with("lvis");
        assert_eq!((set.is_federated(), set.has_masks()), (is_lvis, true));
        let negative: usize = (0..100).map(|image| set.negative_labels(image).len()).sum();
        assert_eq!(negative, if is_lvis { 4000 } else { 0 });
        let not_exhaustive = (0..100).map(|image| set.not_exhaustive_labels(image).len()).sum();
        let crowds = (0..100).flat_map(|image| set.annotations(image)).filter(|a| a.is_crowd);
        let masks = (0..100).flat_map(|image| {
            let set = &set;
            set.annotations(image).iter().map(move |a| checksum(&set.mask(image, a).unwrap()))
        });
        let (mut pixels, mut sum) = (0, 0);
        masks.for_each(|(area, weighted)| (pixels, sum) = (pixels + area, sum + weighted));
        let found = [
            set.num_annotations(),
            crowds.count(),
            not_exhaustive,
            pixels,
            sum,
            100 - set.annotated_images().len(),
        ];
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn class_counts_of_a_real_file() {
    let Some(root) = development_data("data/coco100") else { return };
    let set = read(&root.join("annotations/lvis_train.json"));
    let counts = set.class_counts().unwrap();
    assert_eq!(counts.image_counts()[..12], [51, 2, 10, 3, 3, 3, 3, 4, 2, 3, 0, 2]);
    assert_eq!(counts.instance_counts()[..12], [205, 4, 31, 4, 4, 4, 3, 9, 6, 13, 0, 2]);
    assert_eq!((counts.num_images(), counts.num_instances()), (98, 739));
    let map = set.class_map();
    assert_eq!(
        (map.id(11), map.name(11), map.label_of(90)),
        (Some(13), Some("stop_sign"), Some(79))
    );
    assert_eq!(map.frequency(0), Some(FrequencyGroup::Frequent));
    assert_eq!(map.frequency(1), Some(FrequencyGroup::Rare));
    let first = &set.annotations(0)[0];
    assert_eq!(
        (first.id, first.area, first.bbox),
        (1, 23467.0, BBox::new(0.0, 14.0, 434.0, 388.0))
    );
}

#[test]
fn real_images_load_and_pass_every_check() {
    let Some(root) = development_data("data/coco100") else { return };
    let images = root.join("images/train");
    let options = ReadOptions { files: FileCheck::Size, ..ReadOptions::with_images(&images) };
    let path = root.join("annotations/instances_train.json");
    let set = DetectionDataset::read_coco(&path, &options).unwrap();
    let image = set.load(3).unwrap();
    assert_eq!([image.height(), image.width()], set.image_size(3));
    assert_eq!(set.image(0).file, Some(images.join("000000000009.jpg")));
}

/// xtask/reference/detection_data.py: the run lengths of pycocotools stand beside each annotation.
#[test]
fn masks_are_those_of_pycocotools_to_the_pixel() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/masks.json");
    let expected: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let set = read(&path);
    let mut annotations = expected["annotations"].as_array().unwrap().iter();
    for image in 0..set.num_images() {
        let [height, width] = set.image_size(image);
        for annotation in set.annotations(image) {
            let text = annotations.next().unwrap()["expected"].as_str().unwrap();
            let runs = hotcoco::mask::rle_from_string(text, height as u32, width as u32).unwrap();
            let mask = set.mask(image, annotation).unwrap();
            for (place, value) in hotcoco::mask::decode(&runs).into_iter().enumerate() {
                let (x, y) = (place / height, place % height);
                assert_eq!(mask.get(x, y), value == 1, "annotation {} {x} {y}", annotation.id);
            }
        }
    }
    assert_eq!(annotations.next(), None);
}

/// The evaluator reads ground truth through hotcoco: both must find the same objects.
#[test]
fn hotcoco_finds_the_same_annotations() {
    let Some(root) = development_data("data/coco100/annotations") else { return };
    for name in ["instances_val.json", "lvis_val.json"] {
        let path = root.join(name);
        let theirs = hotcoco::COCO::new(&path).unwrap();
        let ours = read(&path);
        let annotations = (0..100).flat_map(|image| {
            let image_id = ours.image(image).id;
            ours.annotations(image).iter().map(move |annotation| (image_id, annotation))
        });
        assert_eq!(ours.num_annotations(), theirs.dataset.annotations.len());
        for (image_id, annotation) in annotations {
            let other = theirs.get_ann(annotation.id).unwrap();
            assert_eq!(other.image_id, image_id);
            let id = ours.class_map().id(annotation.label as usize).unwrap();
            assert_eq!((other.category_id, other.iscrowd), (id, annotation.is_crowd));
            assert_eq!(other.area, Some(annotation.area));
        }
    }
}
