//! Distillation and contrast against xtask/reference/distillation.py.

use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_losses::{
    Negatives, feature_distillation, label_contrast, soft_label_distillation, unit_rows,
};
use longtail_testing::{assert_close, device, values};
use serde_json::Value;

fn cases() -> Value {
    serde_json::from_str(include_str!("../data/distillation.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn input(case: &Value, index: usize, device: &Device) -> Tensor<2> {
    let shape: Vec<usize> =
        floats(&case["shapes"][index]).into_iter().map(|size| size as usize).collect();
    let data = TensorData::new(floats(&case["inputs"][index]), shape).convert::<f32>();
    Tensor::from_data(data, device)
}

fn labels(value: &Value, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = floats(value).into_iter().map(|label| label as i32).collect();
    Tensor::from_data(TensorData::from(labels.as_slice()), device)
}

/// Loss and gradient by the first input.
fn compare(name: &str, loss_of: impl Fn(&Value, Tensor<2>) -> Tensor<1>) {
    let cases = cases();
    let case = &cases[name];
    let device = device().autodiff();
    let first = input(case, 0, &device).require_grad();
    let loss = loss_of(case, first.clone());
    let gradient = first.grad(&loss.backward()).unwrap();
    assert_close(name, &values(loss), &[case["loss"].as_f64().unwrap()], 1e-5);
    assert_close(name, &values(gradient), &floats(&case["gradient"]), 1e-5);
}

#[test]
fn scores_are_compared_as_in_the_reference() {
    for (name, temperature) in [("kd_1", 1.0), ("kd_2", 2.0)] {
        compare(name, |case, student| {
            soft_label_distillation(student, input(case, 1, &device()), temperature)
        });
    }
}

#[test]
fn features_are_compared_as_in_the_reference() {
    compare("features", |case, student| feature_distillation(student, input(case, 1, &device())));
}

#[test]
fn contrast_leaves_out_the_own_class_as_in_the_reference() {
    compare("contrast", |case, queries| {
        let negatives = Negatives {
            keys: input(case, 2, &device()),
            labels: labels(&case["queue_labels"], &device()),
        };
        let keys = input(case, 1, &device());
        label_contrast(queries, keys, labels(&case["labels"], &device()), &negatives, 0.2)
    });
}

#[test]
fn equal_models_have_nothing_to_learn_and_no_rows_give_zero() {
    let device = device().autodiff();
    let logits = Tensor::<2>::from_floats([[3.0, -200.0, 150.0], [0.0, 0.0, 0.0]], &device);
    let student = logits.clone().require_grad();
    let loss = soft_label_distillation(student.clone(), logits.clone(), 2.0)
        + feature_distillation(student.clone(), logits.mul_scalar(3.0) + 0.0);
    let gradient = student.grad(&loss.backward()).unwrap();
    // The zero row has no direction: 1 - 0 over two rows.
    assert_close("loss", &values(loss), &[0.5], 1e-6);
    assert!(values(gradient).iter().all(|value| value.abs() < 1e-6));

    let none = || Tensor::<2>::zeros([0, 3], &device);
    let negatives =
        Negatives { keys: Tensor::ones([2, 3], &device), labels: Tensor::zeros([2], &device) };
    let no_labels = Tensor::<1, Int>::zeros([0], &device);
    let losses = [
        soft_label_distillation(none(), none(), 2.0),
        feature_distillation(none(), none()),
        label_contrast(none(), none(), no_labels, &negatives, 0.2),
    ];
    assert!(losses.into_iter().all(|loss| values(loss) == [0.0]));
}

/// With every key of the queue of the query's class nothing is left to be told from.
#[test]
fn a_queue_of_one_class_gives_no_loss() {
    let device = device().autodiff();
    let rows = unit_rows(Tensor::<2>::from_floats([[1.0, 2.0], [0.5, -1.0]], &device));
    let negatives = Negatives { keys: rows.clone(), labels: Tensor::ones([2], &device) };
    let labels = Tensor::<1, Int>::ones([2], &device);
    let loss = label_contrast(rows.clone(), rows.clone(), labels, &negatives, 0.07);
    assert_eq!(values(loss), [0.0]);
    let others = Tensor::<1, Int>::zeros([2], &device);
    let loss = label_contrast(rows.clone(), rows, others, &negatives, 0.07);
    assert!(values(loss)[0] > 0.1);
}
