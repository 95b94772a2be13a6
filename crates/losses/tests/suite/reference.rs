//! Losses, gradients, scores and statistics against `xtask/reference/losses*.py`.

use burn::tensor::Tensor;
use longtail_losses::{CalibrationConfig, Reduction, RowLabels};
use longtail_testing::{assert_close, values};
use longtail_types::ClassCounts;
use serde_json::Value;

use crate::support::{
    classes, config, device, floats, gradient, integers, labels_of, matrix, tracked,
};

const TOLERANCE: f64 = 1e-5;

fn labels(step: &Value, num_rows: usize) -> RowLabels {
    let mut labels = match step.get("targets") {
        Some(targets) => RowLabels::multi_label(matrix(&floats(targets), num_rows, &device())),
        None => classes(&labels_of(&step["labels"])),
    };
    if let Some(ignore) = step.get("ignore") {
        let ignore: Vec<bool> =
            ignore.as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
        labels = labels.ignoring(Tensor::from_data(ignore.as_slice(), &device()));
    }
    if let Some(shares) = step.get("shares") {
        let shares = matrix(&floats(shares), num_rows, &device()).squeeze_dim::<1>(1);
        labels = labels.sharing_objects(shares);
    }
    if let Some(qualities) = step.get("qualities") {
        let qualities = matrix(&floats(qualities), num_rows, &device()).squeeze_dim::<1>(1);
        labels = labels.with_qualities(qualities);
    }
    labels
}

#[test]
fn every_case_matches() {
    check(include_str!("../data/losses_more.json"), 45);
}

#[test]
fn every_case_of_the_later_softmax_losses_matches() {
    check(include_str!("../data/losses_softmax.json"), 22);
}

#[test]
fn every_case_of_the_later_sigmoid_losses_matches() {
    check(include_str!("../data/losses_sigmoid.json"), 19);
}

fn check(data: &str, num_cases: usize) {
    let data: Value = serde_json::from_str(data).unwrap();
    let num_rows = data["rows"].as_u64().unwrap() as usize;
    let counts = ClassCounts::new(
        integers(&data["counts"]["image_counts"]),
        integers(&data["counts"]["instance_counts"]),
        data["counts"]["num_images"].as_u64().unwrap(),
    )
    .unwrap();
    let cases = data["cases"].as_array().unwrap();
    assert_eq!(cases.len(), num_cases);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut loss = config(case["config"].clone()).init(&counts, &device()).unwrap();
        if let Some(weights) = case.get("class_weights") {
            loss = loss.reweighted(&floats(weights), &device()).unwrap();
        }
        let calibration = case.get("calibration").map(|calibration| {
            let config: CalibrationConfig = serde_json::from_value(calibration.clone()).unwrap();
            config.init(&counts, &loss, &device()).unwrap()
        });
        for step in case["steps"].as_array().unwrap() {
            let logits = tracked(&floats(&step["logits"]), num_rows);
            let reduction = match step.get("count") {
                Some(count) => Reduction::Count(count.as_f64().unwrap()),
                None => Reduction::Mean,
            };
            let labels = labels(step, num_rows);
            let output = loss.forward_with(logits.clone(), labels, reduction).unwrap();
            let (value, gradient) = gradient(&logits, &output);
            assert_close(name, &[value as f32], &[step["loss"].as_f64().unwrap()], TOLERANCE);
            assert_close(name, &gradient, &floats(&step["grad"]), TOLERANCE);
            if let Some(scores) = step.get("scores") {
                let logits = logits.clone().inner();
                let actual = match &calibration {
                    Some(calibration) => calibration.scores(&loss, logits).unwrap(),
                    None => loss.scores(logits).unwrap(),
                };
                assert_eq!(actual.dims(), [num_rows, loss.num_classes()]);
                assert_close(name, &values(actual), &floats(scores), TOLERANCE);
            }
            loss.apply(output.update).unwrap();
            for (key, expected) in
                step.get("state").and_then(Value::as_object).into_iter().flatten()
            {
                let (_, actual) = loss.state().into_iter().find(|(name, _)| name == key).unwrap();
                assert_close(&format!("{name}: {key}"), &values(actual), &floats(expected), 1e-5);
            }
        }
    }
}
