//! Draws every plot for sets of several sizes. The files stay under `target/tmp/plots`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Noise, assert_folder_is_sound, assert_sound, folder};
use longtail_eval::{
    ClassificationEvaluator, ClassificationReport, Comparison, EvaluationProtocol, MetricsLog,
    class_distribution_svg,
};
use longtail_types::{ClassCounts, ClassMap, ShotThresholds};

const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn classes(num_classes: usize) -> ClassMap {
    if num_classes == 10 {
        return ClassMap::from_names(CIFAR10).unwrap();
    }
    ClassMap::from_names((0..num_classes).map(|j| format!("class & number {j}"))).unwrap()
}

/// Counts from `most` down to `most / imbalance`.
fn counts(num_classes: usize, most: f64, imbalance: f64) -> ClassCounts {
    let count =
        |j: usize| (most * imbalance.powf(-(j as f64) / (num_classes - 1) as f64) + 1e-9) as u64;
    let images: Vec<u64> = (0..num_classes).map(count).collect();
    ClassCounts::new(images.clone(), images.clone(), images.iter().sum()).unwrap()
}

/// A made-up classifier that is right with probability `head` on the first class and `tail` on the
/// last, and otherwise prefers frequent classes.
fn report(
    name: &str,
    counts: &ClassCounts,
    [head, tail]: [f64; 2],
    seed: u64,
) -> ClassificationReport {
    let num_classes = counts.num_classes();
    let mut noise = Noise(seed);
    let mut evaluator = ClassificationEvaluator::new(num_classes).unwrap();
    for label in 0..num_classes {
        let place = label as f64 / (num_classes - 1) as f64;
        for _ in 0..50 {
            let is_right = noise.next() < head + place * (tail - head) + 0.2 * (noise.next() - 0.5);
            let other = (noise.next() * noise.next() * num_classes as f64) as usize;
            let confidence = (0.35 + 0.6 * noise.next()) as f32;
            let mut scores = vec![(1.0 - confidence) / num_classes as f32; num_classes];
            scores[if is_right { label } else { other }] = confidence;
            evaluator.add(&scores, &[label]).unwrap();
        }
    }
    let protocol = EvaluationProtocol {
        test_set: "a made-up test set".into(),
        train_counts: "made-up counts".into(),
        thresholds: ShotThresholds::default(),
    };
    evaluator.report(name, &classes(num_classes), counts, protocol).unwrap()
}

#[test]
fn reports_of_ten_hundred_and_thousand_classes() {
    for (name, num_classes, most, imbalance) in [
        ("10", 10, 5000.0, 100.0),
        ("30", 30, 900.0, 90.0),
        ("100", 100, 500.0, 100.0),
        ("1000", 1000, 1280.0, 256.0),
    ] {
        let counts = counts(num_classes, most, imbalance);
        report("Balanced Softmax", &counts, [0.9, 0.3], 1).write(&folder(name)).unwrap();
        assert_folder_is_sound(name, 4);
        let markdown = fs::read_to_string(folder(name).join("report.md")).unwrap();
        assert!(markdown.lines().count() < 130);
    }
}

#[test]
fn odd_sets() {
    let counts = ClassCounts::new(vec![0, 0], vec![0, 0], 0).unwrap();
    report("no training image", &counts, [0.0, 0.0], 1).write(&folder("odd")).unwrap();
    assert_folder_is_sound("odd", 4);
    let one = ClassCounts::new(vec![1], vec![1], 1).unwrap();
    let names =
        ClassMap::from_names(["<only> \"class\" with a name that is far too long"]).unwrap();
    let thresholds = ShotThresholds::default();
    let svg = class_distribution_svg("one", &names, &one, thresholds).unwrap();
    assert_sound(&svg);
    assert!(svg.contains("&lt;only&gt; &quot;class&quot;"), "{svg}");
    assert!(class_distribution_svg("two", &names, &counts, thresholds).is_err());
}

#[test]
fn comparisons() {
    let counts = counts(10, 5000.0, 100.0);
    let methods = [
        ("cross-entropy", [0.95, 0.05]),
        ("SEQL", [0.9, 0.3]),
        ("Balanced Softmax", [0.8, 0.6]),
        ("Balanced Sigmoid", [0.8, 0.55]),
        ("LDAM-DRW", [0.85, 0.5]),
        ("EQL v2", [0.88, 0.35]),
    ];
    let reports = methods.iter().flat_map(|(name, accuracy)| {
        let counts = &counts;
        (0..3).map(move |seed| report(name, counts, *accuracy, seed))
    });
    let reports: Vec<_> = reports.collect();
    let six = Comparison::new(&reports, 3).unwrap();
    six.write(&folder("comparison"), "Six losses, one recipe").unwrap();
    assert_folder_is_sound("comparison", 1);
    let pair = [reports[0].clone(), reports[6].clone()];
    let pair = Comparison::new(&pair, 3).unwrap();
    pair.write(&folder("pair"), "Cross-entropy against Balanced Softmax").unwrap();
    assert_folder_is_sound("pair", 1);
    println!("{}", six.table());
}

#[test]
fn training_curves() {
    let mut noise = Noise(3);
    let mut lines = String::new();
    for step in 1..=1440 {
        let share = f64::from(step) / 1440.0;
        let loss = 2.1 * (-2.5 * share).exp() + 0.25 + 0.4 * (noise.next() - 0.5);
        let rate = 0.05 * (1.0 + (std::f64::consts::PI * share).cos());
        lines.push_str(&format!(
            "{{\"step\": {step}, \"loss\": {loss}, \"accuracy\": {}, \"lr\": {rate}}}\n",
            0.75 * (1.0 - (-3.0 * share).exp()) + 0.1 * noise.next()
        ));
        if step % 96 == 0 {
            let accuracy = 0.66 * (1.0 - (-3.0 * share).exp()) + 0.03 * noise.next();
            lines.push_str(&format!(
                "{{\"step\": {step}, \"eval\": {{\"accuracy\": {accuracy}, \"macro_accuracy\": {accuracy}, \
                 \"many\": {}, \"medium\": {}}}}}\n",
                accuracy + 0.06,
                accuracy - 0.2 * share
            ));
        }
    }
    let svg = MetricsLog::parse(&lines).unwrap().curves_svg("Balanced Softmax on CIFAR-10-LT");
    let svg = svg.unwrap();
    assert_sound(&svg);
    assert!(
        ["training loss", "test accuracy", "learning rate"].iter().all(|name| svg.contains(name))
    );
    fs::write(folder("curves").join("training_curves.svg"), svg).unwrap();
}
