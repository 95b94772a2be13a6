//! Reports of detectors: tables, files, plots and comparisons. The files stay under
//! `target/tmp/plots`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Noise, assert_folder_is_sound, assert_sound, folder};
use longtail_eval::{
    AnnotatedImage, Benchmark, DetectionComparison, DetectionEvaluator, DetectionReport,
    DetectionSettings, GroundTruth, GroupSource, Overlap, StreamingEvaluator, TrainingCounts,
};
use longtail_types::{BBox, ClassCounts, ClassMap, Detection, FrequencyGroup, Instance};

/// Training images from 1,000 down to 3.
fn counts(num_classes: usize) -> ClassCounts {
    let share = |label: usize| label as f64 / (num_classes - 1).max(1) as f64;
    let count = |label: usize| (1000.0 * 0.003_f64.powf(share(label))) as u64;
    let counts: Vec<u64> = (0..num_classes).map(count).collect();
    ClassCounts::new(counts.clone(), counts, 5000).unwrap()
}

/// A made-up detector: finds objects of the first class with probability `head`, of the last with
/// `tail`, beside them by up to a quarter, and takes every tenth for another class.
fn report(name: &str, seed: u64, num_classes: usize, [head, tail]: [f64; 2]) -> DetectionReport {
    let classes = (0..num_classes).map(|label| format!("class <{label}>"));
    let mut builder = GroundTruth::builder(ClassMap::from_names(classes).unwrap(), Benchmark::Lvis);
    let mut objects = Noise(1); // the same for all detectors
    let mut noise = Noise(seed);
    let mut found = Vec::new();
    for id in 0..60 {
        let mut image = AnnotatedImage { id, size: [200, 200], ..Default::default() };
        let mut detections = Vec::new();
        for _ in 0..5 {
            let label = (objects.next() * objects.next() * num_classes as f64) as usize;
            let [x, y] = [(); 2].map(|()| (120.0 * objects.next()) as f32);
            let side = (10.0 + 60.0 * objects.next()) as f32;
            let bbox = BBox::from_xywh([x, y, side, side]);
            image.objects.push(Instance { label, bbox, mask: None }.into());
            let place = label as f64 / num_classes as f64;
            if noise.next() < head + place * (tail - head) {
                let shift = (0.25 * noise.next()) as f32 * side;
                let other = (noise.next() * num_classes as f64) as usize;
                let label = if noise.next() < 0.1 { other } else { label };
                let bbox = BBox::from_xywh([x + shift, y, side, side]);
                let score = (0.2 + 0.8 * noise.next()) as f32;
                detections.push(Detection { label, score, bbox, mask: None });
            }
        }
        image.negative = (0..num_classes).step_by(3).collect();
        builder.add_image(&image).unwrap();
        found.push((id, detections));
    }
    let mut settings = DetectionSettings::new(name, Overlap::Boxes);
    settings.seed = Some(seed);
    settings.test_set = "60 made-up images".into();
    settings.training =
        Some(TrainingCounts { counts: counts(num_classes), source: "made-up counts".into() });
    let mut evaluator = StreamingEvaluator::new(builder.build().unwrap(), settings).unwrap();
    for (id, detections) in &found {
        evaluator.add_image(*id, detections).unwrap();
    }
    evaluator.finish().unwrap()
}

#[test]
fn reports_of_few_and_of_many_classes() {
    for (name, num_classes, num_plots) in [
        ("detector_1", 1, 6),
        ("detector_8", 8, 6),
        ("detector_100", 100, 5),
        ("detector_1203", 1203, 5),
    ] {
        let report = report("EQL", 1, num_classes, [0.9, 0.3]);
        report.write(&folder(name)).unwrap();
        assert_folder_is_sound(name, num_plots);
        let read = DetectionReport::read(&folder(name).join("report.json")).unwrap();
        assert_eq!(read, report);
        let markdown = fs::read_to_string(folder(name).join("report.md")).unwrap();
        assert!(markdown.lines().count() < 140, "{markdown}");
        let csv = fs::read_to_string(folder(name).join("classes.csv")).unwrap();
        assert_eq!(csv.lines().count(), num_classes + 1);
        for file in fs::read_dir(folder(name)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let is_linked = markdown.contains(&format!("]({file})"));
            assert_eq!(is_linked, file.ends_with(".svg"), "{file}");
        }
    }
}

#[test]
fn the_protocol_is_printed_with_the_numbers() {
    let report = report("EQL", 1, 8, [0.9, 0.3]);
    assert_eq!(report.protocol.groups, Some(GroupSource::TrainingImages));
    let sizes = [FrequencyGroup::Rare, FrequencyGroup::Common, FrequencyGroup::Frequent]
        .map(|group| report.group_size(group)[0]);
    let table = report.table();
    for line in [
        "Test set: 60 made-up images (60 images, 300 objects, ".to_string(),
        "Rules: LVIS, boxes.".into(),
        "Detections that count: the 300 best of each image.".into(),
        "Overlaps (IoU): 10 from 0.50 to 0.95; 101 recalls.".into(),
        "Areas in square pixels: small 0 to 1024, medium 1024 to 9216, large from 9216.".into(),
        "Groups by training images (rare at most 10, common 11 to 100, frequent more than 100): "
            .into(),
        format!("{} frequent (", sizes[2]),
        "Training images per class: made-up counts.".into(),
    ] {
        assert!(table.contains(&line), "{line} is not in\n{table}");
        assert!(report.markdown().contains(&line));
    }
    let ap = format!("{:.2}", 100.0 * report.metrics.ap_rare.unwrap());
    let row = table.lines().find(|line| line.starts_with("APr, rare (at most 10)")).unwrap();
    assert!(row.contains(&ap), "{row}");
}

#[test]
fn what_is_not_known_is_absent() {
    let classes = ClassMap::from_names(["a", "b"]).unwrap();
    let mut builder = GroundTruth::builder(classes, Benchmark::Coco);
    let bbox = BBox::new(0.0, 0.0, 5.0, 5.0);
    let objects = vec![Instance { label: 0, bbox, mask: None }.into()];
    builder
        .add_image(&AnnotatedImage { id: 1, size: [9, 9], objects, ..Default::default() })
        .unwrap();
    let mut settings = DetectionSettings::new("odd", Overlap::Boxes);
    settings.max_analysed_images = 0;
    let evaluator = StreamingEvaluator::new(builder.build().unwrap(), settings).unwrap();
    let report = evaluator.finish().unwrap();
    let names: Vec<&str> = report.metrics.named().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR", "ARs"]);
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!((&json["metrics"]["AP"], json["metrics"].get("APl")), (&0.0.into(), None));
    assert_eq!((json.get("analysis"), json["classes"][1].get("AP")), (None, None));
    let table = report.table();
    assert!(table.contains("Groups: none, as neither flags nor training images are known."));
    assert!(table.contains("left out of all means: 1 class."));
    report.write(&folder("detector_odd")).unwrap();
    assert_folder_is_sound("detector_odd", 3);
}

#[test]
fn a_confusion_matrix_of_another_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let text = report("EQL", 1, 8, [0.9, 0.3]).json().unwrap();
    fs::write(&path, text.replace("\"num_classes\": 9", "\"num_classes\": 10")).unwrap();
    let error = DetectionReport::read(&path).unwrap_err().to_string();
    assert!(error.ends_with("8 classes and background, but a confusion matrix of 10"), "{error}");
}

#[test]
fn detectors_side_by_side() {
    let methods = [("sigmoid", [0.9, 0.1]), ("EQL", [0.9, 0.5]), ("Balanced Sigmoid", [0.85, 0.6])];
    let runs = methods
        .iter()
        .flat_map(|(name, skill)| (1..=3).map(move |seed| report(name, seed, 30, *skill)));
    let mut runs: Vec<DetectionReport> = runs.collect();
    let comparison = DetectionComparison::new(&runs).unwrap();
    comparison.write(&folder("detectors"), "Three detectors").unwrap();
    assert_sound(&fs::read_to_string(folder("detectors").join("comparison.svg")).unwrap());

    // By hand: mean and standard error of the differences of equal seeds.
    let rare = |run: usize| runs[run].metrics.ap_rare.unwrap();
    let gaps: Vec<f64> = (0..3).map(|seed| rare(3 + seed) - rare(seed)).collect();
    let mean = gaps.iter().sum::<f64>() / 3.0;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 2.0;
    let expected = format!("{:+.2} ± {:.2}", 100.0 * mean, 100.0 * (variance / 3.0).sqrt());
    let table = comparison.table();
    assert!(table.contains("difference to sigmoid, points"), "{table}");
    let row = table.lines().find(|line| line.starts_with("EQL (3 pairs, ± standard error)"));
    assert!(row.unwrap().contains(&expected), "{expected}\n{table}");

    // Pairs are found by seed, whatever the order.
    runs.swap(3, 5);
    assert_eq!(DetectionComparison::new(&runs).unwrap().table(), table);
    // Fewer seeds: what is there is paired.
    let fewer = DetectionComparison::new(&runs[..5]).unwrap().table();
    assert!(fewer.contains("EQL (2 pairs, ± standard error)"), "{fewer}");
    // Without seeds and with other numbers of runs there are no pairs.
    runs.iter_mut().for_each(|run| run.seed = None);
    let unpaired = DetectionComparison::new(&runs[..5]).unwrap().table();
    assert!(unpaired.contains("EQL (not paired)"), "{unpaired}");
}

#[test]
fn reports_of_other_sets_are_not_compared() {
    let first = report("a", 1, 8, [0.9, 0.3]);
    let refused = |change: fn(&mut DetectionReport)| {
        let mut other = report("b", 2, 8, [0.9, 0.3]);
        change(&mut other);
        let reports = [first.clone(), other];
        DetectionComparison::new(&reports).unwrap_err().to_string()
    };
    let place = "report \"b\" cannot be compared with \"a\": ";
    assert_eq!(
        refused(|other| other.protocol.benchmark = Benchmark::Coco),
        format!("{place}the benchmark differs")
    );
    assert_eq!(
        refused(|other| other.classes[2].num_objects += 1),
        format!("{place}the number of objects of a class differs")
    );
    assert_eq!(
        refused(|other| _ = other.classes.pop()),
        format!("{place}the number of classes differs")
    );
    assert!(DetectionComparison::new(&[]).is_err());
}
