//! Everything that can be wrong with a COCO or LVIS file: refused by name, or skipped and counted.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use longtail_data::{DetectionDataset, FileCheck, ProblemKind, ReadOptions, RgbImage};
use longtail_types::BBox;
use serde_json::{Value, json};

fn read(path: &Path) -> DetectionDataset {
    DetectionDataset::read_coco(path, &ReadOptions::default()).unwrap()
}

/// Two images, two categories with gaps in their ids, three annotations.
fn good() -> Value {
    json!({
        "info": {"year": 2026},
        "annotations": [
            {"id": 5, "image_id": 20, "category_id": 9, "bbox": [1, 2, 3, 4.5], "iscrowd": 0,
             "segmentation": [[1, 2, 4, 2, 4, 6]], "area": 6.5, "attributes": {"a": [1, {}]}},
            {"id": 3, "image_id": 10, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1,
             "segmentation": {"size": [8, 10], "counts": [40, 40]}},
            {"id": 4, "image_id": 10, "category_id": 2, "bbox": [0.5, 0, 5, 5]},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}],
        "images": [
            {"id": 10, "height": 8, "width": 10, "file_name": "a.png"},
            {"id": 20, "height": 9, "width": 11.0, "file_name": "b.png"},
        ],
    })
}

/// The good file with one value replaced; `null` removes a field.
fn changed(pointer: &str, value: Value) -> Value {
    let mut file = good();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match (file.pointer_mut(parent).unwrap(), value) {
        (Value::Object(object), Value::Null) => drop(object.remove(last)),
        (Value::Object(object), value) => drop(object.insert(last.to_owned(), value)),
        (parent, value) => parent[last.parse::<usize>().unwrap()] = value,
    }
    file
}

struct Folder {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Folder {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs::write(&path, content).unwrap();
        Self { folder, path }
    }

    fn strict_error(&self, options: &ReadOptions) -> String {
        let error = DetectionDataset::read_coco(&self.path, options).unwrap_err().to_string();
        error.replace(self.folder.path().to_str().unwrap(), "DIR")
    }

    fn lenient(&self) -> DetectionDataset {
        DetectionDataset::read_coco(&self.path, &ReadOptions::default().lenient()).unwrap()
    }
}

fn strict_error(content: &[u8]) -> String {
    Folder::new(content).strict_error(&ReadOptions::default())
}

#[test]
fn a_small_file_by_hand() {
    let set = read(&Folder::new(good().to_string().as_bytes()).path);
    assert!(set.problems().is_empty(), "{}", set.problems());
    assert_eq!(set.problems().to_string(), "no problems");
    assert_eq!(set.class_map().names().collect::<Vec<_>>(), ["cat", "dog"]);
    assert_eq!(set.image(1).id, 20);
    let ids: Vec<_> = set.annotations(0).iter().map(|annotation| annotation.id).collect();
    assert_eq!(ids, [3, 4]);
    assert_eq!(set.instances(0).len(), 1, "a crowd is no target");
    let crowd = &set.annotations(0)[0];
    assert_eq!(set.mask(0, crowd).unwrap().area(), 40);
    assert_eq!(set.run_lengths(crowd).unwrap().1, [8, 10]);
    let dog = &set.instances(1)[0];
    assert_eq!((dog.label, dog.bbox), (1, BBox::new(1.0, 2.0, 4.0, 6.5)));
    assert_eq!(set.polygons(&set.annotations(1)[0]), [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0]]);
    assert_eq!(set.annotations(1)[0].area, 6.5);
    assert_eq!(set.annotations(0)[1].area, 25.0, "that of the box where the file has none");
}

#[test]
fn files_that_cannot_be_read_at_all() {
    let good = good().to_string();
    let truncated = &good.as_bytes()[..good.len() / 2];
    let error = strict_error(truncated);
    let start = format!("DIR/x.json, line 1, column {}: the file ends too early: ", good.len() / 2);
    assert!(error.starts_with(&start), "{error}");
    let cases: [(&[u8], &str); 8] = [
        (b"<html>", "DIR/x.json, line 1, column 1: not valid JSON: expected value"),
        (b"", "DIR/x.json, line 1, column 0: the file ends too early: EOF while parsing a value"),
        (b"{\n\"images\": [}", "DIR/x.json, line 2, column 12: not valid JSON: expected value"),
        (b"{}x", "DIR/x.json, line 1, column 3: not valid JSON: trailing characters"),
        (
            b"[]",
            "DIR/x.json: not a file of COCO or LVIS annotations: \
                 expected an object, got a list",
        ),
        (
            b"{\"images\": []}",
            "DIR/x.json: not a file of COCO or LVIS annotations: \
                              annotations is missing",
        ),
        (
            b"{\"images\": {}, \"annotations\": [], \"categories\": []}",
            "DIR/x.json: not a file of COCO or LVIS annotations: images must be a list, got an object",
        ),
        (
            b"{\"images\": [], \"images\": []}",
            "DIR/x.json: not a file of COCO or LVIS annotations: images stands twice",
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(strict_error(content), expected);
    }
    let nothing = Path::new("/does/not/exist.json");
    let error = DetectionDataset::read_coco(nothing, &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("/does/not/exist.json: "));
    let with_mark = [b"\xef\xbb\xbf", good.as_bytes()].concat();
    assert_eq!(read(&Folder::new(&with_mark).path).num_images(), 2);
}

/// Each change: its kind, its message, and what a lenient reader keeps of 2 images, 3 annotations
/// and 2 categories.
#[test]
fn single_errors_are_named_or_skipped_and_counted() {
    use ProblemKind as Kind;
    let twice = json!({"id": 10, "height": 9, "width": 11, "file_name": "b.png"});
    let runs = |size: Value, counts: Value| json!({"size": size, "counts": counts});
    let a0 = "annotations[0] (id 5): ";
    let cases = [
        (
            "/annotations/0/id",
            Value::Null,
            Kind::AnnotationField,
            "annotations[0]: id is missing",
            [2, 2, 2],
        ),
        (
            "/annotations/0/id",
            json!(-1),
            Kind::AnnotationField,
            "annotations[0]: id must be a whole number of at least 0, got -1",
            [2, 2, 2],
        ),
        (
            "/annotations/0/id",
            json!(3),
            Kind::DuplicateAnnotation,
            "annotations[1] (id 3): its id 3 stands twice",
            [2, 2, 2],
        ),
        (
            "/annotations/0",
            json!(7),
            Kind::AnnotationField,
            "annotations[0]: must be an object, got 7",
            [2, 2, 2],
        ),
        (
            "/annotations/0/image_id",
            json!("20"),
            Kind::AnnotationField,
            &format!("{a0}image_id must be a whole number of at least 0, got \"20\""),
            [2, 2, 2],
        ),
        (
            "/annotations/0/image_id",
            json!(21),
            Kind::UnknownImage,
            &format!("{a0}image_id 21 is not one of the images"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/category_id",
            json!(1),
            Kind::UnknownCategory,
            &format!("{a0}category_id 1 is not one of the categories"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/bbox",
            json!([1, 2, 3]),
            Kind::AnnotationField,
            &format!("{a0}bbox must be [x, y, width, height], got a list of 3"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/bbox",
            json!([1, 2, [], 3]),
            Kind::AnnotationField,
            &format!("{a0}bbox must be [x, y, width, height], got a list with a list"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/bbox",
            json!([1, 2, -3, 4]),
            Kind::NegativeBox,
            &format!("{a0}bbox has a negative size: [1, 2, -3, 4]"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/bbox",
            json!([1, 2, 1e300, 4]),
            Kind::AnnotationField,
            &format!("{a0}bbox [1.0, 2.0, inf, 4.0] reaches beyond all numbers of 32 bits"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/bbox",
            json!([11, 2, 3, 4]),
            Kind::BoxOutside,
            &format!("{a0}bbox [11.0, 2.0, 3.0, 4.0] lies outside of the 11x9 pixels of its image"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/area",
            json!("big"),
            Kind::AnnotationField,
            &format!("{a0}area must be a number, got \"big\""),
            [2, 2, 2],
        ),
        (
            "/annotations/0/iscrowd",
            json!(2),
            Kind::AnnotationField,
            &format!("{a0}iscrowd must be 0 or 1, got 2"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!([[1, 2, 3, 4]]),
            Kind::Polygon,
            &format!("{a0}segmentation[0] must be at least 3 points x, y, got 4 numbers"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!([[]]),
            Kind::Polygon,
            &format!("{a0}segmentation[0] must be at least 3 points x, y, got 0 numbers"),
            [2, 2, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]]),
            Kind::Polygon,
            &format!("{a0}segmentation[1] must be at least 3 points x, y, got 7 numbers"),
            [2, 3, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!([1, 2, 3, 4, 5, 6]),
            Kind::AnnotationField,
            &format!(
                "{a0}segmentation must be a list of polygons or an object of run lengths, \
                   got a list with 1 at [0]"
            ),
            [2, 2, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!([[1, 2, 3, 4, 5, null]]),
            Kind::AnnotationField,
            &format!(
                "{a0}segmentation must be a list of polygons or an object of run lengths, \
                   got a list with a list with null at [0]"
            ),
            [2, 2, 2],
        ),
        (
            "/annotations/0/segmentation",
            json!({"counts": "1"}),
            Kind::AnnotationField,
            &format!(
                "{a0}segmentation must be a list of polygons or an object of run lengths, \
                   got an object without size"
            ),
            [2, 2, 2],
        ),
        (
            "/annotations/1/segmentation",
            runs(json!([10, 8]), json!([40, 40])),
            Kind::RunLengths,
            "annotations[1] (id 3): segmentation has size [10, 8], its image has [8, 10]",
            [2, 2, 2],
        ),
        (
            "/annotations/1/segmentation",
            runs(json!([8, 10]), json!([40, 39])),
            Kind::RunLengths,
            "annotations[1] (id 3): segmentation: run lengths add up to 79 pixels, \
          but its size [8, 10] has 80",
            [2, 2, 2],
        ),
        (
            "/images/1/id",
            json!(10),
            Kind::DuplicateImage,
            "images[1] (id 10): its id 10 is that of images[0]",
            [1, 2, 2],
        ),
        (
            "/images/1",
            twice,
            Kind::DuplicateImage,
            "images[1] (id 10): its id 10 is that of images[0]",
            [1, 2, 2],
        ),
        (
            "/images/1/width",
            json!(0),
            Kind::ImageField,
            "images[1] (id 20): width and height must make 1 to 178956970 pixels, got 0x9",
            [1, 2, 2],
        ),
        (
            "/images/1/height",
            json!("9"),
            Kind::ImageField,
            "images[1] (id 20): height must be a number of pixels, got \"9\"",
            [1, 2, 2],
        ),
        (
            "/images/1/file_name",
            Value::Null,
            Kind::ImageField,
            "images[1] (id 20): file_name is missing, and so is coco_url",
            [1, 2, 2],
        ),
        (
            "/images/1/neg_category_ids",
            json!([2]),
            Kind::LvisField,
            "images[0] (id 10): neg_category_ids is missing",
            [2, 3, 2],
        ),
        (
            "/images/1/neg_category_ids",
            json!({}),
            Kind::LvisField,
            "images[1] (id 20): neg_category_ids must be a list of category ids, got an object",
            [2, 3, 2],
        ),
        (
            "/categories/0/name",
            Value::Null,
            Kind::CategoryField,
            "categories[0] (id 9): name is missing",
            [2, 2, 1],
        ),
        (
            "/categories/0/id",
            json!(2),
            Kind::DuplicateCategory,
            "categories[1] (id 2): its id is that of categories[0]",
            [2, 2, 1],
        ),
        (
            "/categories/0/name",
            json!("cat"),
            Kind::DuplicateCategoryName,
            "categories[0] (id 9): its name \"cat\" stands twice",
            [2, 3, 2],
        ),
        (
            "/categories/0/frequency",
            json!("r"),
            Kind::LvisField,
            "categories[1] (id 2): frequency is missing",
            [2, 3, 2],
        ),
        (
            "/categories/0/frequency",
            json!("x"),
            Kind::LvisField,
            "categories[0] (id 9): frequency must be \"r\", \"c\" or \"f\", got \"x\"",
            [2, 3, 2],
        ),
        ("/categories", json!([]), Kind::NoCategories, "categories: there are none", [2, 0, 0]),
    ];
    for (pointer, value, kind, message, kept) in cases {
        let folder = Folder::new(changed(pointer, value).to_string().as_bytes());
        let error = folder.strict_error(&ReadOptions::default());
        let error = error.strip_prefix("DIR/x.json: ").unwrap();
        assert_eq!(error.split(" (and ").next().unwrap(), message);
        let set = folder.lenient();
        assert!(set.problems().count(kind) >= 1, "{}", set.problems());
        assert_eq!(set.problems().errors().next().unwrap().kind, kind);
        let found = [set.num_images(), set.num_annotations(), set.num_classes()];
        assert_eq!(found, kept, "{message}");
    }
}

#[test]
fn many_errors_are_all_listed_and_the_rest_is_kept() {
    let mut file = changed("/annotations/0/bbox", json!([1, 2, -3, 4]));
    file["annotations"][1]["category_id"] = json!(77);
    file["annotations"][2]["segmentation"] = json!([[1, 1, 3, 1, 3, 3], [0, 0]]);
    let folder = Folder::new(file.to_string().as_bytes());
    let error = folder.strict_error(&ReadOptions::default());
    assert!(error.ends_with("[1, 2, -3, 4] (and 2 more errors)"), "{error}");
    let set = folder.lenient();
    let table = "error        1  annotations of unknown categories\n\
                 error        1  boxes of negative size\n\
                 error        1  polygons of fewer than 3 points\n\
                 note         1  images without annotations";
    assert_eq!(set.problems().to_string(), table);
    assert_eq!(set.polygons(&set.annotations(0)[0]), [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0]]);
    assert_eq!(set.mask(0, &set.annotations(0)[0]).unwrap().area(), 1, "as in pycocotools");
}

/// Released sets have boxes without width, boxes over the border and images without annotations.
#[test]
fn what_real_sets_have_is_no_error() {
    let mut file = changed("/annotations/0/bbox", json!([1, 2, 0, 4]));
    file["annotations"][2]["bbox"] = json!([-3, 1, 20, 4]);
    file["images"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": 1, "height": 3, "width": 3, "coco_url": "http://x/train2017/c.png"}));
    let set = read(&Folder::new(file.to_string().as_bytes()).path);
    let counts: Vec<_> = set.problems().counts().into_iter().collect();
    let kinds = [ProblemKind::EmptyBox, ProblemKind::BoxOverBorder, ProblemKind::NoAnnotations];
    assert_eq!(counts, kinds.map(|kind| (kind, 1)));
    assert_eq!(
        set.problems().list()[1].to_string(),
        "annotations[2] (id 4): bbox [-3.0, 1.0, 20.0, 4.0] reaches 7 pixels over \
         the 10x8 pixels of its image"
    );
    assert_eq!(set.num_annotations(), 3);
    assert!(set.instances(1).is_empty() && set.instances(2).is_empty());
    assert_eq!(set.instances(0)[0].bbox, BBox::new(0.0, 1.0, 10.0, 5.0));
    assert_eq!(set.class_counts().unwrap().instance_counts(), [1, 0]);
    assert_eq!(set.image(2).file, Some("train2017/c.png".into()));
}

fn write_image(path: &Path, height: usize, width: usize) {
    let image = RgbImage::filled(width, height, [9, 8, 7]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let color = image::ColorType::Rgb8;
    image::save_buffer(path, image.pixels(), width as u32, height as u32, color).unwrap();
}

#[test]
fn image_files_are_found_and_checked() {
    let mut file = good();
    file["images"][1]["file_name"] = json!("");
    file["images"][1]["coco_url"] = json!("http://images.cocodataset.org/val2017/b.png");
    let folder = Folder::new(file.to_string().as_bytes());
    let images = folder.folder.path().join("images");
    let options = ReadOptions::with_images(&images);
    let all = |files| ReadOptions { files, ..options.clone() };
    let read = |options: &ReadOptions| DetectionDataset::read_coco(&folder.path, options);

    write_image(&images.join("a.png"), 8, 10);
    assert_eq!(
        folder.strict_error(&options),
        "DIR/x.json: images[1] (id 20): no such file: DIR/images/val2017/b.png (and 1 more errors)"
    );
    let set = read(&options.clone().lenient()).unwrap();
    assert_eq!((set.num_images(), set.num_annotations()), (1, 2));
    assert_eq!(set.problems().count(ProblemKind::LeftOutImage), 1);
    let unchecked = read(&all(FileCheck::None)).unwrap();
    assert!(unchecked.load(1).unwrap_err().to_string().contains("val2017/b.png: "));

    write_image(&images.join("b.png"), 9, 11);
    let set = read(&all(FileCheck::Decode)).unwrap();
    assert_eq!(set.image(1).file, Some(images.join("b.png")), "also without the split's folder");
    write_image(&images.join("val2017/b.png"), 11, 9);
    assert_eq!(read(&options).unwrap().image(1).file, Some(images.join("val2017/b.png")));
    let error = folder.strict_error(&all(FileCheck::Size));
    let expected = "DIR/x.json: images[1] (id 20): DIR/images/val2017/b.png has 9x11 pixels, \
                    the annotations say 11x9 (turned by an orientation tag?) (and 1 more errors)";
    assert_eq!(error, expected);
    let error = read(&options).unwrap().load(1).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "b.png: the file has 9x11 pixels, its annotations say 11x9 \
                             (turned by an orientation tag?)"
        ),
        "{error}"
    );

    fs::write(images.join("val2017/b.png"), b"no image").unwrap();
    assert!(read(&options).is_ok());
    for check in [FileCheck::Size, FileCheck::Decode] {
        let set = read(&all(check).lenient()).unwrap();
        assert_eq!(set.problems().count(ProblemKind::UnreadableFile), 1);
        assert_eq!(set.num_images(), 1);
    }
}

/// Whatever the bytes, there is an answer: a set or an error.
#[test]
fn damaged_files_never_panic() {
    let good = good().to_string().into_bytes();
    let folder = Folder::new(&good);
    let parse = |bytes: &[u8]| {
        fs::write(&folder.path, bytes).unwrap();
        DetectionDataset::read_coco(&folder.path, &ReadOptions::default().lenient())
    };
    for end in 0..good.len() {
        assert!(parse(&good[..end]).is_err(), "{end}");
    }
    const DAMAGE: &[u8] = b"[]{},:\"0-9.eE \n\\nulltrue";
    let mut state = 1_u32;
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (place, byte) = ((state >> 8) as usize % bytes.len(), (state >> 3) as usize);
            bytes[place] = DAMAGE[byte % DAMAGE.len()];
        }
        if let Ok(set) = parse(&bytes) {
            (0..set.num_images()).for_each(|image| drop(set.instances(image)));
        }
    }
}
