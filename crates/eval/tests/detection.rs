//! Average precision against pycocotools and lvis-api; `xtask/reference/detection.py` makes the
//! files.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use hotcoco::{COCO, Rle, Segmentation, mask};
use longtail_eval::{
    AnnotatedImage, AnnotatedObject, Benchmark, DetectionEvaluator, DetectionReport,
    DetectionSettings, GroundTruth, ImageDetections, Overlap, StreamingEvaluator,
    evaluate_detections, write_detections,
};
use longtail_types::{BBox, ClassMap, Detection, FrequencyGroup, Instance, Mask};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Expected {
    metrics: BTreeMap<String, Option<f64>>,
    classes: BTreeMap<u64, Option<f64>>,
    #[serde(default)]
    sum_of_scores: f64,
}

/// Image, class, box (x, y, width, height), score, mask.
type Row = (u64, u64, f64, f64, f64, f64, f64, String);

#[derive(Deserialize)]
struct Case {
    annotations: Value,
    detections: Vec<Row>,
    boxes: Expected,
    masks_with_boxes: Expected,
    masks: Expected,
}

/// A case and its annotations as a file.
struct Files {
    case: Case,
    benchmark: Benchmark,
    folder: TempDir,
}

impl Files {
    fn new(benchmark: Benchmark) -> Self {
        let text = match benchmark {
            Benchmark::Coco => include_str!("data/detection/coco.json"),
            Benchmark::Lvis => include_str!("data/detection/lvis.json"),
        };
        let case: Case = serde_json::from_str(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let annotations = serde_json::to_vec(&case.annotations).unwrap();
        std::fs::write(folder.path().join("annotations.json"), annotations).unwrap();
        Self { case, benchmark, folder }
    }

    fn truth(&self) -> GroundTruth {
        GroundTruth::read(&self.folder.path().join("annotations.json"), self.benchmark).unwrap()
    }

    fn size(&self, image_id: u64) -> [usize; 2] {
        let images = self.case.annotations["images"].as_array().unwrap();
        let image = images.iter().find(|image| image["id"] == image_id).unwrap();
        ["height", "width"].map(|side| image[side].as_u64().unwrap() as usize)
    }

    /// A results file with boxes, masks or both.
    fn results(&self, has_boxes: bool, has_masks: bool) -> PathBuf {
        let lines = self.case.detections.iter().map(|(image, class, x, y, w, h, score, counts)| {
            let mut line = json!({"image_id": image, "category_id": class, "score": score});
            if has_boxes {
                line["bbox"] = json!([x, y, w, h]);
            }
            if has_masks {
                line["segmentation"] = json!({"size": self.size(*image), "counts": counts});
            }
            line
        });
        let lines: Vec<Value> = lines.collect();
        let path = self.folder.path().join("detections.json");
        std::fs::write(&path, serde_json::to_vec(&lines).unwrap()).unwrap();
        path
    }

    /// Detections of an image, in the order of the file.
    fn detections(&self, truth: &GroundTruth, image_id: u64) -> Vec<Detection> {
        let rows = self.case.detections.iter().filter(|row| row.0 == image_id);
        let detections = rows.map(|(image, class, x, y, w, h, score, counts)| {
            let [height, width] = self.size(*image);
            let code = mask::rle_from_string(counts, height as u32, width as u32).unwrap();
            Detection {
                label: truth.classes().label_of(*class).unwrap(),
                score: *score as f32,
                bbox: BBox::from_xywh([*x, *y, *w, *h].map(|v| v as f32)),
                mask: Some(to_mask(&code)),
            }
        });
        detections.collect()
    }
}

/// The mask in a window as small as possible.
fn to_mask(code: &Rle) -> Mask {
    let pixels = mask::decode(code);
    let [left, top, width, height] = mask::to_bbox(code).map(|v| v as usize);
    let rows = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
    let pixels = rows.map(|(x, y)| pixels[x * code.h as usize + y] == 1).collect();
    Mask::new([left, top], [height, width], pixels).unwrap()
}

fn stream(files: &Files, truth: &GroundTruth, overlap: Overlap) -> DetectionReport {
    let settings = DetectionSettings::new("streamed", overlap);
    let mut evaluator = StreamingEvaluator::new(truth.clone(), settings).unwrap();
    let ids: Vec<u64> = truth.image_ids().collect();
    // Backwards; the last image, which has no detections, is left to `finish`.
    for &id in ids.iter().rev().skip(1) {
        evaluator.add_image(id, &files.detections(truth, id)).unwrap();
    }
    evaluator.finish().unwrap()
}

#[track_caller]
fn assert_equal(what: &str, report: &DetectionReport, expected: &Expected) {
    let metrics: BTreeMap<&str, f64> = report.metrics.named().into_iter().collect();
    let is_close = |actual: Option<f64>, expected: Option<f64>| match (actual, expected) {
        (Some(actual), Some(expected)) => (actual - expected).abs() <= TOLERANCE,
        (actual, expected) => actual == expected,
    };
    for (name, &value) in &expected.metrics {
        let actual = metrics.get(name.as_str()).copied();
        assert!(is_close(actual, value), "{what}, {name}: {actual:?}, expected {value:?}");
    }
    let groups = ["APr", "APc", "APf"];
    let unexpected =
        |name: &&&str| !expected.metrics.contains_key(**name) && !groups.contains(name);
    assert_eq!(metrics.keys().find(unexpected), None, "{what}");
    assert_eq!(report.classes.len(), expected.classes.len(), "{what}");
    for class in &report.classes {
        let value = expected.classes[&class.id];
        assert!(
            is_close(class.ap, value),
            "{what}, {}: {:?}, expected {value:?}",
            class.name,
            class.ap
        );
    }
}

#[test]
fn files_match_the_references() {
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        let files = Files::new(benchmark);
        let truth = files.truth();
        let Case { boxes, masks, masks_with_boxes, .. } = &files.case;
        for (overlap, has_boxes, has_masks, expected) in [
            (Overlap::Boxes, true, false, boxes),
            (Overlap::Boxes, true, true, boxes),
            (Overlap::Masks, true, true, masks_with_boxes),
            (Overlap::Masks, false, true, masks),
        ] {
            let settings = DetectionSettings::new("file", overlap);
            let results = files.results(has_boxes, has_masks);
            let report = evaluate_detections(&truth, &results, &settings).unwrap();
            let what = format!("{benchmark}, {overlap}, masks in the file: {has_masks}");
            assert_equal(&what, &report, expected);
        }
    }
}

#[test]
fn streamed_detections_match_the_references() {
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        let files = Files::new(benchmark);
        let truth = files.truth();
        for (overlap, expected) in
            [(Overlap::Boxes, &files.case.boxes), (Overlap::Masks, &files.case.masks)]
        {
            let report = stream(&files, &truth, overlap);
            assert_equal(&format!("{benchmark}, {overlap}"), &report, expected);
            assert_eq!(report.num_detections, files.case.detections.len() as u64);
        }
    }
}

#[test]
fn streaming_equals_all_at_once_and_written_detections_evaluate_to_the_same() {
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        let files = Files::new(benchmark);
        let truth = files.truth();
        for overlap in [Overlap::Boxes, Overlap::Masks] {
            let streamed = stream(&files, &truth, overlap);
            let detections = truth.image_ids().map(|id| (id, files.detections(&truth, id)));
            let detections: Vec<(u64, Vec<Detection>)> = detections.collect();
            let images = detections.iter().map(|(image_id, detections)| ImageDetections {
                image_id: *image_id,
                size: files.size(*image_id),
                detections,
            });
            let images: Vec<_> = images.collect();
            let path = files.folder.path().join("written.json");
            write_detections(&path, &images, truth.classes(), overlap).unwrap();
            let settings = DetectionSettings::new("streamed", overlap);
            let at_once = evaluate_detections(&truth, &path, &settings).unwrap();
            // The analysis sees images in another order, so that errors of equal score may change
            // places; everything else is the same to the last bit.
            let without = |report: DetectionReport| DetectionReport { analysis: None, ..report };
            let (a, b) = (streamed.analysis.clone().unwrap(), at_once.analysis.clone().unwrap());
            assert_eq!(without(streamed), without(at_once), "{benchmark}, {overlap}");
            assert_eq!((a.confusion, a.num_images), (b.confusion, b.num_images));
            assert!((a.ap - b.ap).abs() < TOLERANCE);
        }
    }
}

/// The same annotations, image by image.
fn truth_from_memory(files: &Files, classes: ClassMap) -> GroundTruth {
    let read = COCO::new(&files.folder.path().join("annotations.json")).unwrap();
    let mut builder = GroundTruth::builder(classes.clone(), files.benchmark);
    let labels = |ids: &[u64]| ids.iter().map(|&id| classes.label_of(id).unwrap()).collect();
    for image in &read.dataset.images {
        let objects = read.dataset.annotations.iter().filter(|object| object.image_id == image.id);
        let objects = objects.map(|object| AnnotatedObject {
            instance: Instance {
                label: classes.label_of(object.category_id).unwrap(),
                bbox: BBox::from_xywh(object.bbox.unwrap().map(|v| v as f32)),
                mask: Some(to_mask(&read.ann_to_rle(object).unwrap())),
            },
            is_crowd: object.iscrowd,
            // An area outside of all ranges is what `ignore` comes to; no area leaves it out.
            area: match object.area {
                Some(area) if area > 0.0 && object.extra.contains_key("ignore") => Some(1e11),
                area => area,
            },
        });
        let image = AnnotatedImage {
            id: image.id,
            size: [image.height as usize, image.width as usize],
            objects: objects.collect(),
            negative: labels(&image.neg_category_ids),
            not_exhaustive: labels(&image.not_exhaustive_category_ids),
        };
        builder.add_image(&image).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn ground_truth_from_memory_matches_the_references() {
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        let files = Files::new(benchmark);
        let truth = truth_from_memory(&files, files.truth().classes().clone());
        for (overlap, expected) in
            [(Overlap::Boxes, &files.case.boxes), (Overlap::Masks, &files.case.masks)]
        {
            let report = stream(&files, &truth, overlap);
            assert_equal(&format!("{benchmark}, {overlap}"), &report, expected);
        }
    }
}

#[test]
fn labels_of_a_model_may_be_in_another_order() {
    let files = Files::new(Benchmark::Lvis);
    let read = files.truth();
    let classes = read.classes();
    let backwards = (0..classes.len())
        .rev()
        .map(|label| (classes.id(label).unwrap(), format!("model {label}"), None));
    let truth = read.clone().with_classes(ClassMap::from_ids(backwards).unwrap()).unwrap();
    let report = stream(&files, &truth, Overlap::Boxes);
    assert_equal("backwards", &report, &files.case.boxes);
    assert_eq!(report.classes[0].name, "model 7");
    assert_eq!(report.classes[7].group, Some(FrequencyGroup::Frequent));
    let fewer = ClassMap::from_ids([(3, "a".into(), None)]).unwrap();
    let error = read.clone().with_classes(fewer).unwrap_err().to_string();
    let expected =
        "class id 90 (\"class 90\") is in the ground truth, but not a class of the model";
    assert_eq!(error, expected);
}

/// The formula of `crowded` in the script.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = (1_103_515_245 * self.0 + 12345) % (1 << 31);
        (self.0 >> 16) % below
    }

    fn float(&mut self, below: u64) -> f32 {
        self.below(below) as f32
    }
}

#[test]
fn more_detections_than_count() {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(include_str!("data/detection/crowded.json")).unwrap();
    for (benchmark, name) in [(Benchmark::Coco, "coco"), (Benchmark::Lvis, "lvis")] {
        let groups = [FrequencyGroup::Frequent, FrequencyGroup::Common, FrequencyGroup::Rare];
        let classes = groups.into_iter().zip(1..);
        let classes = classes.map(|(group, id)| (id, format!("class {id}"), Some(group)));
        let classes = ClassMap::from_ids(classes).unwrap();
        let mut builder = GroundTruth::builder(classes, benchmark);
        let mut draw = Draw(12345);
        let mut found = Vec::new();
        for id in [8, 2, 5] {
            let (mut objects, mut detections) = (Vec::new(), Vec::new());
            for _ in 0..20 {
                let corner = [draw.float(240), draw.float(240)];
                let bbox = [corner[0], corner[1], 16.0 + draw.float(44), 16.0 + draw.float(44)];
                let label = draw.below(2) as usize;
                let instance = Instance { label, bbox: BBox::from_xywh(bbox), mask: None };
                objects.push(instance.into());
                for _ in 0..20 {
                    let near = bbox.map(|value| value + (draw.float(17) - 8.0) / 2.0);
                    let label = if draw.below(8) == 0 { draw.below(3) as usize } else { label };
                    let (score, bbox) = (draw.float(64) / 64.0, BBox::from_xywh(near));
                    detections.push(Detection { label, score, bbox, mask: None });
                }
            }
            found.push((id, detections));
            let image = AnnotatedImage {
                id,
                size: [300, 300],
                objects,
                negative: vec![2],
                ..Default::default()
            };
            builder.add_image(&image).unwrap();
        }
        let scores = found.iter().flat_map(|(_, found)| found).map(|found| f64::from(found.score));
        assert_eq!(scores.sum::<f64>(), expected[name].sum_of_scores, "the formulas differ");
        let settings = DetectionSettings::new(name, Overlap::Boxes);
        let mut evaluator = StreamingEvaluator::new(builder.build().unwrap(), settings).unwrap();
        for (id, found) in &found {
            evaluator.add_image(*id, found).unwrap();
        }
        assert_equal(name, &evaluator.finish().unwrap(), &expected[name]);
    }
}

#[test]
fn nothing_found_is_zero_and_nothing_to_be_found_is_absent() {
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        let files = Files::new(benchmark);
        let truth = files.truth();
        let settings = DetectionSettings::new("nothing", Overlap::Boxes);
        let evaluator = StreamingEvaluator::new(truth.clone(), settings.clone()).unwrap();
        let report = evaluator.finish().unwrap();
        assert_eq!((report.metrics.ap, report.metrics.ar), (Some(0.0), Some(0.0)));
        let path = files.folder.path().join("empty.json");
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(evaluate_detections(&truth, &path, &settings).unwrap().metrics, report.metrics);
        for class in &report.classes {
            assert_eq!(class.ap, (class.id != 28).then_some(0.0), "{}", class.name);
        }
        let empty = files.case.annotations["images"][3]["id"].as_u64().unwrap();
        let settings = DetectionSettings::new("empty image", Overlap::Masks);
        let truth = truth.subset(&[empty]).unwrap();
        let mut evaluator = StreamingEvaluator::new(truth.clone(), settings).unwrap();
        evaluator.add_image(empty, &files.detections(&truth, empty)).unwrap();
        let report = evaluator.finish().unwrap();
        assert_eq!(report.metrics.named(), []);
        assert!(report.classes.iter().all(|class| class.ap.is_none()));
    }
}

#[test]
fn confusion_and_errors_by_hand() {
    let classes = ClassMap::from_names(["cat", "dog"]).unwrap();
    let mut builder = GroundTruth::builder(classes, Benchmark::Coco);
    let object =
        |label, x: f32| Instance { label, bbox: BBox::new(x, 0.0, x + 10.0, 10.0), mask: None };
    let objects = vec![object(0, 0.0).into(), object(1, 20.0).into(), object(1, 40.0).into()];
    builder
        .add_image(&AnnotatedImage { id: 1, size: [10, 100], objects, ..Default::default() })
        .unwrap();
    let settings = DetectionSettings::new("by hand", Overlap::Boxes);
    let mut evaluator = StreamingEvaluator::new(builder.build().unwrap(), settings).unwrap();
    let found = |label, score, x: f32| Detection {
        label,
        score,
        bbox: BBox::new(x, 0.0, x + 10.0, 10.0),
        mask: None,
    };
    let detections = [
        found(0, 0.9, 0.0),  // found
        found(0, 0.8, 0.5),  // twice
        found(0, 0.7, 20.0), // a dog taken for a cat
        found(1, 0.6, 45.0), // beside the other dog
        found(1, 0.5, 80.0), // nothing there
        found(1, 0.2, 20.0), // found, below the score of the confusion matrix
    ];
    evaluator.add_image(1, &detections).unwrap();
    let report = evaluator.finish().unwrap();
    let analysis = report.analysis.unwrap();
    let counts: Vec<(&str, u64)> =
        analysis.errors.iter().map(|error| (error.kind.as_str(), error.count)).collect();
    let expected = [
        ("classification", 1),
        ("localization", 1),
        ("classification and localization", 0),
        ("duplicate", 1),
        ("background", 1),
        ("missed", 0), // the second dog would be found if the box were right
    ];
    assert_eq!(counts, expected);
    let cells: Vec<_> = analysis.confusion.cells().collect();
    assert_eq!(cells, [(0, 0, 1), (1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 1, 2)]);
    assert!(analysis.false_positive_gain > 0.0 && analysis.false_negative_gain > 0.0);
}

#[test]
fn analysis_covers_as_many_images_as_asked() {
    let files = Files::new(Benchmark::Lvis);
    let truth = files.truth();
    for (limit, expected) in [(0, None), (5, Some(5)), (5000, Some(20))] {
        let mut settings = DetectionSettings::new("limited", Overlap::Masks);
        settings.max_analysed_images = limit;
        let results = files.results(true, true);
        let report = evaluate_detections(&truth, &results, &settings).unwrap();
        let analysed = report.analysis.map(|analysis| analysis.num_images);
        assert_eq!(analysed, expected);
        let mut evaluator = StreamingEvaluator::new(truth.clone(), settings).unwrap();
        for id in truth.image_ids() {
            evaluator.add_image(id, &files.detections(&truth, id)).unwrap();
        }
        let report = evaluator.finish().unwrap();
        assert_eq!(report.analysis.map(|analysis| analysis.num_images), expected);
    }
}

#[test]
fn written_masks_read_back() {
    let files = Files::new(Benchmark::Coco);
    let truth = files.truth();
    let id = files.case.detections[0].0;
    let detections = files.detections(&truth, id);
    let images = [ImageDetections { image_id: id, size: files.size(id), detections: &detections }];
    let text = longtail_eval::detections_json(&images, truth.classes(), Overlap::Masks).unwrap();
    let lines: Vec<hotcoco::Annotation> = serde_json::from_str(&text).unwrap();
    assert_eq!(text.lines().count(), lines.len() + 2);
    let rows = files.case.detections.iter().filter(|row| row.0 == id);
    for (line, row) in lines.iter().zip(rows) {
        let Some(Segmentation::CompressedRle { counts, .. }) = &line.segmentation else {
            panic!("no mask in {line:?}");
        };
        assert_eq!((counts, line.score), (&row.7, Some(row.6)));
    }
}
