//! Sets made in memory.

use longtail_types::{BBox, ClassMap, Mask};

use super::{DetectionDatasetBuilder, NewAnnotation, Outline};
use crate::{DataError, RgbImage};

fn builder() -> DetectionDatasetBuilder {
    DetectionDatasetBuilder::new(ClassMap::from_names(["cat", "dog", "emu"]).unwrap())
}

fn boxed(label: usize, bbox: [f32; 4]) -> NewAnnotation {
    NewAnnotation { label, bbox: bbox.into(), ..Default::default() }
}

#[test]
fn objects_come_back_by_image() {
    let mut builder = builder();
    let image = RgbImage::filled(6, 5, [1, 2, 3]);
    let first = builder.add_pixels(30, image.clone()).unwrap();
    let second = builder.add_file(20, [8, 9], "b.jpg").unwrap();
    builder.annotate(second, boxed(2, [1.0, 1.0, 20.0, 4.0])).unwrap();
    let mask = Mask::new([1, 2], [2, 2], vec![true, true, false, true]).unwrap();
    let outline = Outline::Mask(mask.clone());
    let with_mask = NewAnnotation { outline, ..boxed(0, [1.0, 2.0, 3.0, 4.0]) };
    builder.annotate(first, with_mask).unwrap();
    builder.annotate(second, boxed(0, [0.0, 0.0, 3.0, 3.0])).unwrap();
    let crowd = NewAnnotation { is_crowd: true, ..boxed(1, [0.0, 0.0, 3.0, 3.0]) };
    builder.annotate(second, crowd).unwrap();
    let ignored = NewAnnotation { is_ignored: true, ..boxed(1, [0.0, 0.0, 3.0, 3.0]) };
    builder.annotate(second, ignored).unwrap();
    for empty in [[2.0, 2.0, 2.0, 5.0], [9.0, 1.0, 12.0, 4.0]] {
        builder.annotate(second, boxed(1, empty)).unwrap();
    }
    let dataset = builder.build().unwrap();

    assert_eq!((dataset.num_images(), dataset.num_annotations()), (2, 7));
    assert_eq!(dataset.load(0).unwrap(), image);
    let info = dataset.image(1);
    assert_eq!((info.id, info.size(), info.file), (20, [8, 9], Some("b.jpg".into())));
    let instances = dataset.instances(0);
    assert_eq!((instances[0].label, instances[0].mask.as_ref()), (0, Some(&mask)));
    assert_eq!(dataset.annotations(0)[0].area, 3.0);
    assert_eq!(dataset.box_instances(0)[0].mask, None);

    let labels: Vec<_> = dataset.instances(1).iter().map(|instance| instance.label).collect();
    assert_eq!(labels, [2, 0], "crowd, ignored and empty boxes are left out");
    assert_eq!(dataset.instances(1)[0].bbox, BBox::new(1.0, 1.0, 9.0, 4.0), "clipped");
    let ids: Vec<_> = dataset.annotations(1).iter().map(|annotation| annotation.id).collect();
    assert_eq!(ids, [1, 3, 4, 5, 6, 7]);
    let counts = dataset.class_counts().unwrap();
    assert_eq!(counts.image_counts(), [2, 0, 1]);
    assert_eq!(counts.instance_counts(), [2, 0, 1]);

    let error = dataset.load(1).unwrap_err().to_string();
    assert_eq!(error, "b.jpg: the set was read without a folder of images");
    let twice = dataset.subset(&[1, 1]).unwrap();
    assert_eq!((twice.num_images(), twice.num_annotations()), (2, 12));
    assert_eq!(
        twice.subset(&[2]).unwrap_err().to_string(),
        "index 2 is outside a data set of 2 images"
    );
}

#[test]
fn federated_lists_come_back() {
    let mut builder = builder();
    builder.add_file(1, [4, 4], "a").unwrap();
    builder.add_file(2, [4, 4], "b").unwrap();
    builder.federate(1, &[2, 0], &[1]).unwrap();
    let dataset = builder.build().unwrap();
    assert!(dataset.is_federated());
    assert!(dataset.negative_labels(0).is_empty());
    assert_eq!(
        (dataset.negative_labels(1), dataset.not_exhaustive_labels(1)),
        (&[2, 0][..], &[1][..])
    );
    assert_eq!(dataset.annotated_images(), [0; 0]);
}

#[test]
fn an_empty_set_is_a_set() {
    let dataset = DetectionDatasetBuilder::default().build().unwrap();
    assert_eq!((dataset.num_images(), dataset.has_masks()), (0, false));
    let error = dataset.class_counts().unwrap_err().to_string();
    assert_eq!(error, "a data set needs at least one class, got 0");
    assert!(dataset.load(0).is_err());
}

#[test]
fn refusals_name_the_value() {
    let mut builder = builder();
    builder.add_file(1, [4, 4], "a").unwrap();
    let message = |result: Result<(), DataError>| result.unwrap_err().to_string();
    let image = builder.add_file(1, [4, 4], "b").map(drop);
    assert_eq!(message(image), "image id must be new, got 1");
    let image = builder.add_file(2, [0, 4], "b").map(drop);
    let expected = "image size must be at least 1x1 and at most 178956970 pixels, got 4x0";
    assert_eq!(message(image), expected);
    let label = builder.annotate(0, boxed(3, [0.0; 4]));
    assert_eq!(message(label), "label must be a class of the set, got 3 of 3 classes");
    let turned = builder.annotate(0, boxed(0, [3.0, 0.0, 1.0, 1.0]));
    assert!(message(turned).contains("got [3.0, 0.0, 1.0, 1.0]"));
    let outline = Outline::Polygons(vec![vec![1.0, 2.0, 3.0, 4.0]]);
    let short = NewAnnotation { outline, ..boxed(0, [0.0; 4]) };
    assert!(message(builder.annotate(0, short)).contains("polygon must be 3 points or more"));
    let outline = Outline::Mask(Mask::new([3, 3], [1, 2], vec![true; 2]).unwrap());
    let outside = NewAnnotation { outline, ..boxed(0, [0.0; 4]) };
    let expected = "mask must be a mask inside its image, got one up to (5, 4) in 4x4";
    assert_eq!(message(builder.annotate(0, outside)), expected);
    assert!(builder.annotate(1, boxed(0, [0.0; 4])).is_err());
}
