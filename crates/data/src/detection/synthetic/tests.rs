use longtail_types::{BBox, FrequencyGroup, Mask};

use super::*;
use plan::train_counts;

/// FNV-1a, 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Of pixels, labels, boxes and masks.
fn dataset_hash(dataset: &DetectionDataset) -> u64 {
    let image_hash = |index: usize| {
        let pixels = hash(dataset.load(index).unwrap().pixels().iter().copied());
        let mut words = vec![pixels];
        for instance in dataset.instances(index) {
            let mask = instance.mask.unwrap();
            words.extend([instance.label as u64, mask.left() as u64, mask.top() as u64]);
            words.push(hash(mask.pixels().iter().map(|&is_set| u8::from(is_set))));
        }
        words
    };
    let words = (0..dataset.num_images()).flat_map(image_hash);
    hash(words.flat_map(u64::to_le_bytes))
}

fn small() -> SyntheticDetectionConfig {
    SyntheticDetectionConfig {
        width: 64,
        height: 48,
        num_classes: 12,
        train_images: 30,
        head_count: 24,
        exponent: 2,
        offset: 2,
        test_instances: 3,
        unannotated: 0.2,
        object_size: [10, 24],
        ..Default::default()
    }
}

#[test]
fn counts_of_the_default_set() {
    let config = SyntheticDetectionConfig::default();
    let counts = train_counts(&config);
    let expected = [
        1000, 640, 444, 327, 250, 198, 160, 132, 111, 95, 82, 71, 63, 55, 49, 44, 40, 36, 33, 30,
        28, 26, 24, 22, 20, 19, 18, 17, 16, 15, 14, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8, 8, 7,
        7, 7, 6, 6,
    ];
    assert_eq!(counts, expected);
    let train = config.generate(Split::Train).unwrap();
    let found = train.class_counts().unwrap();
    assert_eq!(found.image_counts().iter().map(|&n| n as usize).collect::<Vec<_>>(), expected);
    assert_eq!((train.num_images(), found.num_images(), found.num_instances()), (1200, 1196, 5166));
    let groups = |group| {
        let flags = (0..48).map(|label| train.class_map().frequency(label).unwrap());
        flags.filter(|&flag| flag == group).count()
    };
    use FrequencyGroup::{Common, Frequent, Rare};
    assert_eq!([Frequent, Common, Rare].map(groups), [9, 27, 12]);
    for (label, &count) in found.image_counts().iter().enumerate() {
        assert_eq!(train.class_map().frequency(label), Some(FrequencyGroup::of(count)));
    }

    let validation = config.generate(Split::Test).unwrap();
    assert_eq!(validation.class_counts().unwrap().instance_counts(), [25; 48]);
    assert_eq!(validation.num_images(), 293);
    assert_eq!(validation.class_map(), train.class_map());
}

/// Results in documents refer to these very images: they never change.
#[test]
fn the_default_set_is_frozen() {
    let config = SyntheticDetectionConfig::default();
    let hashes =
        [Split::Train, Split::Test].map(|split| dataset_hash(&config.generate(split).unwrap()));
    assert_eq!(hashes, [630_550_497_877_630_365, 13_310_042_670_447_754_155]);
}

#[test]
fn boxes_and_masks_agree_and_lie_in_the_image() {
    let config = SyntheticDetectionConfig::default();
    let dataset = config.generate(Split::Test).unwrap();
    let mut sizes = Vec::new();
    for index in 0..dataset.num_images() {
        assert_eq!(dataset.image_size(index), [96, 96]);
        let instances = dataset.instances(index);
        for (i, instance) in instances.iter().enumerate() {
            let mask = instance.mask.as_ref().unwrap();
            assert_eq!(mask.bounding_box(), Some(instance.bbox));
            assert_eq!(instance.bbox, instance.bbox.clip([96, 96]));
            sizes.push(mask.area());
            // No pixel belongs to two objects.
            for other in &instances[..i] {
                let other = other.mask.as_ref().unwrap();
                let both =
                    (0..96 * 96).filter(|p| mask.get(p % 96, p / 96) && other.get(p % 96, p / 96));
                assert_eq!(both.count(), 0, "image {index}");
            }
        }
    }
    sizes.sort_unstable();
    assert!(sizes[0] > 40 && sizes[sizes.len() - 1] < 1600, "{sizes:?}");
}

/// Every object from scratch: which of its pixels in the image no object before it covers.
#[test]
fn enough_of_every_object_is_seen() {
    let config = SyntheticDetectionConfig { max_objects: 12, ..Default::default() };
    let planned: Vec<Planned> =
        (0..12).map(|label| Planned { label: label * 3, is_annotated: true }).collect();
    let mut occluded = 0;
    for number in 0..40 {
        let mut rng = KeyedRng::new(1, Stream::Synthetic, 0, number);
        let objects = scene::place(&config, &planned, &mut rng);
        let covers = |object: &Object, x: usize, y: usize| {
            object.figure.look.distance(object.figure.local(x, y)) < 0.0
        };
        for (i, object) in objects.iter().enumerate() {
            let [mut all, mut seen] = [0, 0];
            for (x, y) in (0..96).flat_map(|y| (0..96).map(move |x| (x, y))) {
                let is_inside = covers(object, x, y);
                let is_hidden = objects[..i].iter().any(|front| covers(front, x, y));
                all += usize::from(is_inside);
                seen += usize::from(is_inside && !is_hidden);
                let mask = object.instance.mask.as_ref().unwrap();
                assert_eq!(mask.get(x, y), is_inside && !is_hidden);
            }
            assert!(2 * seen >= all, "{number} {i}: {seen} of {all}");
            occluded += usize::from(seen < all);
        }
    }
    assert!(occluded > 100, "objects do hide each other: {occluded}");
}

#[test]
fn images_depend_on_the_key_alone() {
    let config = small();
    let train = dataset_hash(&config.generate(Split::Train).unwrap());
    assert_eq!(train, dataset_hash(&config.generate(Split::Train).unwrap()));
    assert_ne!(train, dataset_hash(&config.generate(Split::Test).unwrap()));
    let other = SyntheticDetectionConfig { seed: 1, ..config };
    assert_ne!(train, dataset_hash(&other.generate(Split::Train).unwrap()));
}

#[test]
fn federated_lists_tell_the_truth() {
    let config = SyntheticDetectionConfig { negatives: 3, ..small() };
    let dataset = config.generate(Split::Train).unwrap();
    let mut not_exhaustive = 0;
    for index in 0..dataset.num_images() {
        let present: Vec<usize> =
            dataset.instances(index).iter().map(|instance| instance.label).collect();
        let negative = dataset.negative_labels(index);
        assert_eq!(negative.len(), 3);
        assert!(negative.is_sorted() && negative[0] != negative[1] && negative[1] != negative[2]);
        assert!(negative.iter().all(|&label| !present.contains(&(label as usize))));
        let open = dataset.not_exhaustive_labels(index);
        assert!(open.iter().all(|&label| present.contains(&(label as usize))));
        not_exhaustive += open.len();
    }
    assert!(not_exhaustive > 0);
    let config = SyntheticDetectionConfig { negatives: usize::MAX, ..small() };
    let all = config.generate(Split::Test).unwrap();
    for index in 0..all.num_images() {
        let mut present: Vec<u32> =
            all.annotations(index).iter().map(|annotation| annotation.label).collect();
        present.dedup();
        let mut labels = [present, all.negative_labels(index).to_vec()].concat();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels, (0..12).collect::<Vec<_>>());
    }
}

/// The rasteriser of the COCO tools fills exactly the mask.
#[test]
fn polygons_are_filled_as_the_mask() {
    let dataset = small().generate(Split::Train).unwrap();
    let mut builder = DetectionDatasetBuilder::new(small().class_map().unwrap());
    let mut masks = Vec::new();
    for index in 0..dataset.num_images() {
        let at = builder.add_file(index as u64, [48, 64], "x").unwrap();
        for Instance { label, bbox, mask } in dataset.instances(index) {
            let flat = |polygon: Vec<[usize; 2]>| -> Vec<f64> {
                polygon.into_iter().flatten().map(|value| value as f64).collect()
            };
            let mask: Mask = mask.unwrap();
            let polygons = polygons::mask_polygons(&mask).into_iter().map(flat).collect();
            let outline = Outline::Polygons(polygons);
            builder
                .annotate(at, NewAnnotation { label, bbox, outline, ..Default::default() })
                .unwrap();
            masks.push(mask);
        }
    }
    let again = builder.build().unwrap();
    let filled = (0..again.num_images()).flat_map(|index| again.instances(index));
    let filled: Vec<Mask> = filled.map(|instance| instance.mask.unwrap()).collect();
    assert!(filled.len() > 60 && filled == masks);
}

#[test]
fn written_files_hold_the_set() {
    let parent = tempfile::tempdir().unwrap();
    let (full, bare) = (parent.path().join("full"), parent.path().join("bare"));
    let summary = small().write(&full, SyntheticContents::ImagesAndAnnotations).unwrap();
    assert_eq!(small().write(&bare, SyntheticContents::AnnotationsOnly).unwrap(), summary);
    assert!(!bare.join("images").exists());
    let mut annotations = 0;
    for (split, name) in [(Split::Train, "train"), (Split::Test, "val")] {
        let dataset = small().generate(split).unwrap();
        let file = format!("annotations/lvis_{name}.json");
        let text = std::fs::read_to_string(full.join(&file)).unwrap();
        assert_eq!(text, std::fs::read_to_string(bare.join(&file)).unwrap());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list = |key: &str| json[key].as_array().unwrap().clone();
        let counts = dataset.class_counts().unwrap();
        for (label, category) in list("categories").iter().enumerate() {
            assert_eq!(category["id"], label + 1);
            assert_eq!(category["name"], dataset.class_map().name(label).unwrap());
            assert_eq!(category["frequency"], ["c", "r"][usize::from(label > 1)]);
            assert_eq!(category["image_count"], counts.image_counts()[label]);
            assert_eq!(category["instance_count"], counts.instance_counts()[label]);
        }
        assert_eq!(list("images").len(), dataset.num_images());
        let mut records = list("annotations").into_iter();
        for (index, image) in list("images").iter().enumerate() {
            assert_eq!(image["id"], dataset.image(index).id);
            let path = full.join("images").join(name).join(image["file_name"].as_str().unwrap());
            let pixels = crate::decode_image(&std::fs::read(path).unwrap(), "").unwrap();
            assert!(pixels == dataset.load(index).unwrap());
            let negative: Vec<u64> =
                dataset.negative_labels(index).iter().map(|&label| u64::from(label) + 1).collect();
            assert_eq!(image["neg_category_ids"], serde_json::json!(negative));
            for instance in dataset.instances(index) {
                let record = records.next().unwrap();
                annotations += 1;
                assert_eq!(record["image_id"], image["id"]);
                assert_eq!(record["category_id"], instance.label + 1);
                let xywh: [f32; 4] = serde_json::from_value(record["bbox"].clone()).unwrap();
                assert_eq!(BBox::from_xywh(xywh), instance.bbox);
                assert_eq!(record["area"], instance.mask.unwrap().area());
            }
        }
        assert_eq!(records.next(), None);
    }
    assert_eq!(summary.annotations, annotations);
    assert!(summary.polygons >= annotations);
    let again = small().write(&full, SyntheticContents::AnnotationsOnly).unwrap_err();
    assert!(again.to_string().ends_with("already exists; it is not overwritten"));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn lvis_scale_has_its_counts() {
    let config = SyntheticDetectionConfig::lvis_scale();
    let plan = Plan::new(&config, Split::Train).unwrap();
    let objects: usize = plan.images.iter().map(Vec::len).sum();
    assert!(objects.abs_diff(1_270_000) < 20_000, "{objects}");
    let flags = frequencies(&config);
    let rare = flags.iter().filter(|&&flag| flag == FrequencyGroup::Rare).count();
    assert!((200..400).contains(&rare), "{rare}");
    assert_eq!(plan.images.len(), 100_000);
}

#[test]
fn settings_are_checked() {
    let error =
        |config: SyntheticDetectionConfig| config.generate(Split::Train).unwrap_err().to_string();
    let message = error(SyntheticDetectionConfig { num_classes: 0, ..small() });
    assert_eq!(message, "synthetic_detection.num_classes must be in 1..=1536, got 0");
    let message = error(SyntheticDetectionConfig { head_count: 31, ..small() });
    assert_eq!(message, "synthetic_detection.head_count must be at most train_images, got 31");
    let message = error(SyntheticDetectionConfig { max_objects: 1, ..small() });
    let expected =
        "synthetic_detection.max_objects must be enough for the classes of every image, got 1";
    assert_eq!(message, expected);
    let message = error(SyntheticDetectionConfig { object_size: [10, 50], ..small() });
    assert!(message.ends_with("got [10, 50]"), "{message}");
    let message = error(SyntheticDetectionConfig { repeats: 1.0, ..small() });
    assert_eq!(message, "synthetic_detection.repeats must be below 1, got 1");
    let message = error(SyntheticDetectionConfig { noise: f64::NAN, ..small() });
    assert!(message.contains("synthetic_detection.noise"), "{message}");
    let json = r#"{ "classes": 3 }"#;
    assert!(serde_json::from_str::<SyntheticDetectionConfig>(json).is_err());
}
