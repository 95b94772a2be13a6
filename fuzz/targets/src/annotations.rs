//! JSON of COCO and LVIS: annotations for training and for evaluation, and detections.

use std::path::Path;

use longtail::data::{AnnotationForm, DetectionDataset, ReadMode, ReadOptions};
use longtail::eval::{
    Benchmark, DetectionSettings, EvalError, GroundTruth, Overlap, evaluate_detections,
};

use crate::Scratch;

/// Masks are made in images of at most so many pixels: what a mask costs is known.
const MASK_PIXELS: usize = 1 << 16;

/// Four images, three classes with frequencies, boxes, polygons, run lengths and a crowd.
const TRUTH: &[u8] = include_bytes!("truth.json");
/// Two detections with boxes and polygons.
const DETECTIONS: &[u8] = include_bytes!("detections.json");

pub(crate) fn coco(bytes: &[u8], scratch: &Scratch<'_>) {
    annotations(bytes, AnnotationForm::Coco, scratch);
}

pub(crate) fn lvis(bytes: &[u8], scratch: &Scratch<'_>) {
    annotations(bytes, AnnotationForm::Lvis, scratch);
}

fn annotations(bytes: &[u8], form: AnnotationForm, scratch: &Scratch<'_>) {
    let path = scratch.file("annotations.json", bytes);
    let strict = DetectionDataset::read_coco(&path, &ReadOptions::default());
    let lenient = ReadOptions { mode: ReadMode::Lenient, ..ReadOptions::default() };
    let Ok(set) = DetectionDataset::read_coco(&path, &lenient) else {
        assert!(strict.is_err(), "strict reads what lenient does not");
        return;
    };
    visit(&set);
    let written = scratch.path("written.json");
    // A set without classes cannot be used, and is refused when it is read strictly.
    if set.num_classes() > 0 && set.write_coco(&written, form).is_ok() {
        let again = DetectionDataset::read_coco(&written, &ReadOptions::default());
        assert_same(&set, &again.unwrap_or_else(|error| panic!("written, not read: {error}")));
    }
}

/// Goes through a set as training does.
pub(crate) fn visit(set: &DetectionDataset) {
    let _ = set.class_counts();
    for index in 0..set.num_images() {
        let [height, width] = set.image_size(index);
        for annotation in set.annotations(index) {
            assert!((annotation.label as usize) < set.num_classes());
            let _ = (set.polygons(annotation), set.run_lengths(annotation));
            if height * width <= MASK_PIXELS
                && let Some(mask) = set.mask(index, annotation)
            {
                let (right, bottom) = (mask.left() + mask.width(), mask.top() + mask.height());
                assert!(right <= width && bottom <= height, "a mask reaches out of its image");
            }
        }
        if height * width <= MASK_PIXELS {
            let _ = set.instances(index);
        }
    }
    let _ = (set.annotated_images(), set.problems().to_string());
}

fn assert_same(first: &DetectionDataset, second: &DetectionDataset) {
    assert_eq!(first.num_images(), second.num_images(), "images");
    assert_eq!(first.num_annotations(), second.num_annotations(), "annotations");
    for index in 0..first.num_images() {
        assert_eq!(first.image_size(index), second.image_size(index));
        for (a, b) in first.annotations(index).iter().zip(second.annotations(index)) {
            assert_eq!((a.id, a.label), (b.id, b.label));
            assert_eq!(a.bbox, b.bbox, "box of annotation {}", a.id);
            assert_eq!(first.polygons(a), second.polygons(b), "polygons of annotation {}", a.id);
            assert_eq!(first.run_lengths(a), second.run_lengths(b), "runs of annotation {}", a.id);
        }
    }
}

pub(crate) fn ground_truth(bytes: &[u8], scratch: &Scratch<'_>) {
    let truth = scratch.file("truth.json", bytes);
    let detections = scratch.constant("constant-detections.json", DETECTIONS);
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        evaluate(&truth, &detections, benchmark);
    }
}

pub(crate) fn detections(bytes: &[u8], scratch: &Scratch<'_>) {
    let truth = scratch.constant("constant-truth.json", TRUTH);
    let detections = scratch.file("detections.json", bytes);
    for benchmark in [Benchmark::Coco, Benchmark::Lvis] {
        evaluate(&truth, &detections, benchmark);
    }
}

fn evaluate(truth: &Path, detections: &Path, benchmark: Benchmark) {
    let Ok(truth) = GroundTruth::read(truth, benchmark) else { return };
    for overlap in [Overlap::Boxes, Overlap::Masks] {
        let settings = DetectionSettings::new("fuzzed", overlap);
        match evaluate_detections(&truth, detections, &settings) {
            Ok(report) => drop((report.table(), report.json())),
            Err(error @ EvalError::BadEntry { .. }) => drop(error.to_string()),
            Err(_) => {}
        }
    }
}
