//! VOC and YOLO folders, and writing any set as COCO or LVIS.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use longtail_data::{
    AnnotationForm, DetectionDataset, DetectionDatasetBuilder, NewAnnotation, Outline, ProblemKind,
    ReadOptions, RgbImage,
};
use longtail_testing::development_data;
use longtail_types::{BBox, ClassMap, FrequencyGroup, Mask};
use serde_json::Value;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_image(path: &Path, [height, width]: [usize; 2]) {
    let image = RgbImage::filled(width, height, [9, 8, 7]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let color = image::ColorType::Rgb8;
    image::save_buffer(path, image.pixels(), width as u32, height as u32, color).unwrap();
}

fn xml(file: &str, objects: &str) -> String {
    format!(
        "<annotation><filename>{file}</filename>\
         <size><width>20</width><height>10</height><depth>3</depth></size>{objects}</annotation>"
    )
}

fn object(name: &str, [xmin, ymin, xmax, ymax]: [&str; 4]) -> String {
    format!(
        "<object><name>{name}</name><bndbox><ymin>{ymin}</ymin><xmin>{xmin}</xmin>\
         <xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
    )
}

fn voc() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let difficult = object("cat", ["1", "1", "20", "10"]);
    let difficult = difficult.replace("<bndbox>", "<difficult>1</difficult><bndbox>");
    let dog = object("dog", ["3", "2", "12.5", "8"]);
    write(&root.join("Annotations/b.xml"), &xml("b.png", &format!("{dog}{difficult}")));
    write(&root.join("Annotations/a.xml"), &xml("moved/from/elsewhere.jpg", ""));
    let emu = xml("c.png", &object("emu", ["1", "1", "2", "2"]));
    let without_size = emu.replace("<width>20</width><height>10</height>", "");
    write(&root.join("Annotations/c.xml"), &without_size);
    write(&root.join("ImageSets/Main/train.txt"), "b 1\na -1\n\n");
    for name in ["a", "b", "c"] {
        write_image(&root.join("JPEGImages").join(format!("{name}.png")), [10, 20]);
    }
    folder
}

#[test]
fn voc_folders() {
    let folder = voc();
    let options = ReadOptions::default();
    let read = |split, classes| DetectionDataset::read_voc(folder.path(), split, classes, &options);
    let set = read(Some("train"), None).unwrap();
    assert_eq!(set.class_map().names().collect::<Vec<_>>(), ["cat", "dog", "emu"]);
    assert_eq!((set.num_images(), set.num_annotations()), (2, 2));
    let [dog] = &set.instances(0)[..] else { panic!("a difficult object is no target") };
    assert_eq!((dog.label, dog.bbox), (1, BBox::new(2.0, 1.0, 12.5, 8.0)));
    let cat = &set.annotations(0)[1];
    assert_eq!((cat.is_ignored, cat.bbox), (true, BBox::new(0.0, 0.0, 20.0, 10.0)));
    assert!(set.load(1).is_ok(), "found under the name of the XML file");
    assert_eq!(set.class_counts().unwrap().instance_counts(), [0, 1, 0]);

    let all = read(None, None).unwrap();
    assert_eq!((all.num_images(), all.image_size(2)), (3, [10, 20]), "size from the image");
    let b = (0..3).find(|&image| all.file_name(image) == Some("b.png")).unwrap();
    assert_eq!(all.image(b).id, set.image(0).id, "ids do not depend on the split");
    let classes = ClassMap::from_ids([(4, "dog".to_owned(), None)]).unwrap();
    let error = read(None, Some(&classes)).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "b.xml, object 2: name \"cat\" is not one of the classes \
                             (and 1 more errors)"
        ),
        "{error}"
    );
}

#[test]
fn broken_voc_folders() {
    let folder = voc();
    let root = folder.path();
    let read = |options| DetectionDataset::read_voc(root, Some("train"), None, &options);
    let files = [
        ("d", "<annotation><size>".to_owned()),
        ("e", xml("a.png", &object("dog", ["5", "1", "3", "2"]))),
        ("f", xml("a.png", &object("dog", ["x", "1", "3", "2"]))),
        ("g", xml("a.png", "<object></object>")),
        ("h", xml("a.png", &object("dog", ["30", "1", "40", "2"]))),
        ("i", xml("", &object("dog", ["3", "1", "4", "2"]))),
    ];
    let mut list = "nothing\n".to_owned();
    for (name, text) in files {
        write(&root.join(format!("Annotations/{name}.xml")), &text);
        list += &format!("{name}\n");
    }
    write(&root.join("ImageSets/Main/train.txt"), &list);
    let error = read(ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("train.txt, line 1: no annotations of \"nothing\""), "{error}");
    let set = read(ReadOptions::default().lenient()).unwrap();
    let kinds = [
        (ProblemKind::AnnotationFile, 2),
        (ProblemKind::MissingFile, 1),
        (ProblemKind::AnnotationField, 2),
        (ProblemKind::LeftOutImage, 1),
        (ProblemKind::NegativeBox, 1),
        (ProblemKind::BoxOutside, 1),
        (ProblemKind::NoAnnotations, 4),
    ];
    assert_eq!(set.problems().counts().into_iter().collect::<Vec<_>>(), kinds);
    let texts: Vec<_> = set.problems().list().iter().map(ToString::to_string).collect();
    assert!(texts[1].ends_with("d.xml: line 1: the file ends too early in <size>"), "{}", texts[1]);
    assert!(
        texts[3].ends_with("f.xml, object 1: xmin must be a number, got \"x\""),
        "{}",
        texts[3]
    );

    let empty = tempfile::tempdir().unwrap();
    let options = ReadOptions::default();
    let error = DetectionDataset::read_voc(empty.path(), None, None, &options).unwrap_err();
    assert!(error.to_string().ends_with("no annotations in it; expected Annotations/IMAGE.xml"));
    let error = DetectionDataset::read_voc(root, Some("val"), None, &options).unwrap_err();
    assert!(error.to_string().contains("val.txt"));
}

fn yolo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        &root.join("data.yaml"),
        "path: /nowhere\ntrain: images/train\nval: ../images/val\nnames: {0: cat, 2: dog}\n",
    );
    for image in ["train/a.png", "train/b.png", "val/c.png"] {
        write_image(&root.join("images").join(image), [10, 20]);
    }
    write(&root.join("labels/train/a.txt"), "2 0.5 0.5 0.25 0.2\n0 .1 .2 .5 .2 .5 .8 .1 .8\n");
    folder
}

#[test]
fn yolo_folders() {
    let folder = yolo();
    let options = ReadOptions::default();
    let read = |path: &Path, split| DetectionDataset::read_yolo(path, split, &options);
    let set = read(folder.path(), Some("train")).unwrap();
    assert_eq!((set.num_images(), set.num_classes(), set.num_annotations()), (2, 2, 2));
    assert_eq!(set.class_map().id(1), Some(2));
    let [dog, cat] = &set.instances(0)[..] else { panic!("two objects") };
    assert_eq!(
        (dog.label, dog.bbox, dog.mask.is_none()),
        (1, BBox::new(7.5, 4.0, 12.5, 6.0), true)
    );
    assert_eq!((cat.label, cat.bbox), (0, BBox::new(2.0, 2.0, 10.0, 8.0)));
    assert_eq!(cat.mask.as_ref().unwrap().area(), 48);
    assert!(set.load(1).is_ok() && set.instances(1).is_empty(), "no label file: no objects");
    let val = read(&folder.path().join("data.yaml"), Some("val")).unwrap();
    assert_eq!(val.file_name(0), Some("images/val/c.png"));
    assert_eq!(read(folder.path(), None).unwrap().num_images(), 3);
    let error = read(folder.path(), Some("test")).unwrap_err().to_string();
    assert!(error.ends_with("images/test: no such folder"), "{error}");

    fs::remove_file(folder.path().join("data.yaml")).unwrap();
    let error = read(folder.path(), None).unwrap_err().to_string();
    assert!(error.contains("expected data.yaml or classes.txt"), "{error}");
    write(&folder.path().join("classes.txt"), "cat\ndog\nemu\n");
    assert_eq!(read(folder.path(), Some("train")).unwrap().num_classes(), 3);
}

#[test]
fn broken_yolo_folders() {
    let folder = yolo();
    let lines = "2 .5 .5 .2 .2\n7 .5 .5 .2 .2\n0 .5 .5\n0 .5 .5 -.1 .1\n\n0 2 2 .1 .1\n\
                 0 .1 .1 .2 .2 .3\n0 .5 .5 0 .1\n";
    write(&folder.path().join("labels/train/b.txt"), lines);
    fs::write(folder.path().join("images/train/z.jpg"), "no image").unwrap();
    let read = |options| DetectionDataset::read_yolo(folder.path(), Some("train"), &options);
    let error = read(ReadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("b.txt, line 3: a line is `class x y width height`"), "{error}");
    let set = read(ReadOptions::default().lenient()).unwrap();
    let kinds = [
        (ProblemKind::UnreadableFile, 1),
        (ProblemKind::AnnotationField, 1),
        (ProblemKind::UnknownCategory, 1),
        (ProblemKind::NegativeBox, 1),
        (ProblemKind::BoxOutside, 1),
        (ProblemKind::Polygon, 1),
        (ProblemKind::EmptyBox, 1),
    ];
    assert_eq!(set.problems().counts().into_iter().collect::<Vec<_>>(), kinds);
    assert_eq!((set.num_images(), set.num_annotations(), set.instances(1).len()), (2, 4, 1));

    write(&folder.path().join("data.yaml"), "train: images/train\n");
    let error = read(ReadOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("data.yaml: names is missing"), "{error}");
}

/// A set with every kind of outline and flag, in memory.
fn mixed() -> DetectionDataset {
    let classes = [(4, "cat".to_owned(), None), (9, "dog".to_owned(), None)];
    let mut builder = DetectionDatasetBuilder::new(ClassMap::from_ids(classes).unwrap());
    let image = builder.add_pixels(7, RgbImage::filled(20, 10, [5; 3])).unwrap();
    builder.add_file(3, [30, 30], "sub/\"b\".png").unwrap();
    let mask = Mask::new([2, 3], [2, 3], vec![true, false, true, true, true, false]).unwrap();
    let outlines = [
        Outline::None,
        Outline::Mask(mask),
        Outline::Polygons(vec![vec![1.1, 2.2, 9.3, 2.0, 4.0, 8.099_999_999_999_99]]),
    ];
    for (i, outline) in outlines.into_iter().enumerate() {
        let bbox = BBox::new(0.1, 1.0 / 3.0, 7.7, 8.0);
        let (is_crowd, is_ignored) = (i == 1, i == 2);
        let new = NewAnnotation { label: i % 2, bbox, outline, is_crowd, is_ignored, area: None };
        builder.annotate(image, new).unwrap();
    }
    builder.build().unwrap()
}

fn same(a: &DetectionDataset, b: &DetectionDataset) {
    assert_eq!((a.class_map().len(), a.num_images()), (b.class_map().len(), b.num_images()));
    for image in 0..a.num_images() {
        assert_eq!(
            (a.image(image).id, a.image_size(image)),
            (b.image(image).id, b.image_size(image))
        );
        assert_eq!(a.instances(image), b.instances(image));
        assert_eq!(a.annotations(image).len(), b.annotations(image).len());
        for (x, y) in a.annotations(image).iter().zip(b.annotations(image)) {
            assert_eq!((x.id, x.bbox, x.area, x.label), (y.id, y.bbox, y.area, y.label));
            assert_eq!(a.polygons(x), b.polygons(y));
            assert_eq!(a.run_lengths(x), b.run_lengths(y));
        }
    }
}

#[test]
fn what_is_written_as_coco_reads_the_same() {
    let set = mixed();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    set.write_coco(&path, AnnotationForm::Coco).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["images"][0]["file_name"], "000000000007.png");
    assert_eq!(json["annotations"][0]["iscrowd"], 0);
    assert_eq!(json["annotations"][2]["ignore"], 1);
    assert_eq!(json["annotations"][0]["bbox"][0].to_string(), "0.1");
    assert_eq!(json["annotations"][2]["segmentation"][0][5].to_string(), "8.09999999999999");
    let back = DetectionDataset::read_coco(&path, &ReadOptions::default()).unwrap();
    same(&set, &back);
    assert_eq!(back.file_name(1), Some("sub/\"b\".png"));
    assert!(back.annotations(0)[2].is_ignored && back.annotations(0)[1].is_crowd);
    assert!(!back.is_federated());
    let twice = set.subset(&[0, 0]).unwrap().write_coco(&path, AnnotationForm::Coco).unwrap_err();
    assert_eq!(twice.to_string(), "image ids to write must be different, got 7");
}

#[test]
fn what_is_written_as_lvis_has_its_fields() {
    let set = mixed();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    set.write_coco(&path, AnnotationForm::Lvis).unwrap();
    let back = DetectionDataset::read_coco(&path, &ReadOptions::default()).unwrap();
    same(&set, &back);
    assert!(back.is_federated());
    assert_eq!((back.negative_labels(0), back.negative_labels(1)), (&[][..], &[0, 1][..]));
    assert_eq!(back.not_exhaustive_labels(0), [1], "the class of a crowd");
    assert_eq!(back.class_map().frequency(0), Some(FrequencyGroup::Rare));
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let cat = &json["categories"][0];
    assert_eq!(
        (&cat["id"], &cat["image_count"], &cat["instance_count"]),
        (&4.into(), &1.into(), &1.into())
    );
    assert!(json["annotations"][1].get("iscrowd").is_none());

    let empty = DetectionDatasetBuilder::default().build().unwrap();
    for form in [AnnotationForm::Coco, AnnotationForm::Lvis] {
        empty.write_coco(&path, form).unwrap();
        let options = ReadOptions::default().lenient();
        assert_eq!(DetectionDataset::read_coco(&path, &options).unwrap().num_images(), 0);
    }
}

#[test]
fn a_real_file_survives_reading_and_writing() {
    let Some(root) = development_data("data/coco100/annotations") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    for (name, form) in
        [("instances_val", AnnotationForm::Coco), ("lvis_val", AnnotationForm::Lvis)]
    {
        let read =
            |path: &Path| DetectionDataset::read_coco(path, &ReadOptions::default()).unwrap();
        let set = read(&root.join(format!("{name}.json")));
        set.write_coco(&path, form).unwrap();
        let back = read(&path);
        same(&set, &back);
        for image in 0..100 {
            assert_eq!(set.negative_labels(image), back.negative_labels(image));
            assert_eq!(set.not_exhaustive_labels(image), back.not_exhaustive_labels(image));
        }
        assert_eq!(set.class_map(), back.class_map());
    }
}
