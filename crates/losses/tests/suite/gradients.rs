//! The gradient of every method against central differences of its own value.

use burn::tensor::Tensor;
use longtail_losses::{ClassificationLoss, Reduction, RowLabels};
use longtail_testing::{assert_close, values};
use serde_json::Value;

use crate::support::{all_configs, classes, counts, device, evaluate, init, matrix, some_logits};

const NUM_ROWS: usize = 4;
/// The five-point rule has an error of order `STEP^4`; a step this large keeps f32 rounding small.
const STEP: f64 = 0.06;
const TOLERANCE: f64 = 2e-4;

/// A fresh loss after one batch of statistics.
fn loss_of(value: Value) -> ClassificationLoss {
    let mut value = value;
    if value["method"] == "seesaw" {
        // The compensation factor is a constant of the logits to the gradient, but not to a
        // difference; losses_more.json covers it.
        value["q"] = 0.0.into();
    }
    if value["method"] == "loce" {
        // The same holds of the mean scores; losses_softmax.json covers them.
        value["alpha"] = 1.0.into();
    }
    // So with the choice of what counts, and with the size of an error: see losses_sigmoid.json.
    if value["method"] == "acsl" {
        value["threshold"] = 0.0.into();
    }
    if value["method"] == "ghm-c" {
        value["bins"] = 1.into();
    }
    let mut loss = init(value, &counts());
    let logits = matrix(&some_logits(NUM_ROWS * loss.num_logits()), NUM_ROWS, &device());
    let update = loss.forward(logits, classes(&[4, 2, 0, 0])).unwrap().update;
    loss.apply(update).unwrap();
    loss
}

/// Row losses by the five-point rule, one entry after the other.
fn differences(loss: &ClassificationLoss, entries: &[f64], labels: &RowLabels) -> Vec<f64> {
    let num_columns = loss.num_logits();
    let row_losses = |entries: &[f64]| {
        let logits = matrix(entries, NUM_ROWS, &device());
        let output = loss.forward_with(logits, labels.clone(), Reduction::None).unwrap();
        values(output.loss)
    };
    (0..entries.len())
        .map(|index| {
            let at = |steps: f64| {
                let mut moved = entries.to_vec();
                moved[index] += steps * STEP;
                f64::from(row_losses(&moved)[index / num_columns])
            };
            (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP)
        })
        .collect()
}

fn check(value: &Value, labels: RowLabels) {
    let loss = loss_of(value.clone());
    let entries = some_logits(NUM_ROWS * loss.num_logits());
    let (_, gradient) = evaluate(&loss, &entries, labels.clone(), Reduction::Sum);
    let expected = differences(&loss, &entries, &labels);
    assert!(expected.iter().any(|v| v.abs() > 0.05), "{value}: {expected:?}");
    assert_close(&value.to_string(), &gradient, &expected, TOLERANCE);
}

#[test]
fn class_labels() {
    for value in all_configs() {
        check(&value, classes(&[3, 0, 1, 4]));
        let num_labels = init(value.clone(), &counts()).num_labels();
        check(&value, classes(&[0, num_labels - 1, 2, num_labels - 1]));
    }
}

#[test]
fn ignored_rows_have_no_gradient() {
    let ignore = Tensor::from_data([false, true, false, false], &device());
    for value in all_configs() {
        let labels = classes(&[3, 0, 1, 4]).ignoring(ignore.clone());
        check(&value, labels.clone());
        let loss = loss_of(value);
        let columns = loss.num_logits();
        let entries = some_logits(NUM_ROWS * columns);
        let (_, gradient) = evaluate(&loss, &entries, labels, Reduction::Mean);
        assert_eq!(gradient[columns..2 * columns], vec![0.0; columns]);
    }
}

#[test]
fn several_labels_a_row() {
    #[rustfmt::skip]
    let targets = [
        1.0, 0.0, 1.0, 0.0, 0.0,
        0.0, 0.0, 0.0, 0.0, 0.0,
        0.0, 1.0, 0.0, 1.0, 1.0,
        0.0, 0.0, 0.0, 0.0, 1.0,
    ];
    let mut checked = 0;
    for value in all_configs() {
        if init(value.clone(), &counts()).layout().is_multi_label() {
            check(&value, RowLabels::multi_label(matrix(&targets, NUM_ROWS, &device())));
            checked += 1;
        }
    }
    assert_eq!(checked, 16);
}
