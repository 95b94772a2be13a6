//! What the tests share.

use burn::tensor::{Device, Tensor, TensorData};
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, LossOutput, Reduction, RowLabels,
};
use longtail_testing::values;
use longtail_types::ClassCounts;
use serde_json::{Value, json};

pub(crate) fn device() -> Device {
    longtail_testing::device()
}

pub(crate) fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub(crate) fn integers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

pub(crate) fn labels_of(value: &Value) -> Vec<usize> {
    integers(value).into_iter().map(|v| v as usize).collect()
}

pub(crate) fn matrix(entries: &[f64], num_rows: usize, device: &Device) -> Tensor<2> {
    let entries: Vec<f32> = entries.iter().map(|&v| v as f32).collect();
    let num_columns = entries.len() / num_rows.max(1);
    Tensor::from_data(TensorData::new(entries, [num_rows, num_columns]), device)
}

/// Logits that require a gradient.
pub(crate) fn tracked(entries: &[f64], num_rows: usize) -> Tensor<2> {
    matrix(entries, num_rows, &device().autodiff()).require_grad()
}

/// One class per row, on the plain device.
pub(crate) fn classes(labels: &[usize]) -> RowLabels {
    RowLabels::from_host(labels, usize::MAX, &device()).unwrap()
}

/// Loss and gradient.
pub(crate) fn gradient(logits: &Tensor<2>, output: &LossOutput) -> (f64, Vec<f32>) {
    let gradients = output.loss.backward();
    let loss = f64::from(values(output.loss.clone().sum())[0]);
    (loss, values(logits.grad(&gradients).unwrap()))
}

/// Loss and gradient under a reduction.
pub(crate) fn evaluate(
    loss: &ClassificationLoss,
    entries: &[f64],
    labels: RowLabels,
    reduction: Reduction,
) -> (f64, Vec<f32>) {
    let logits = tracked(entries, labels.num_rows());
    let output = loss.forward_with(logits.clone(), labels, reduction).unwrap();
    gradient(&logits, &output)
}

pub(crate) fn config(value: Value) -> ClassificationLossConfig {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn init(value: Value, counts: &ClassCounts) -> ClassificationLoss {
    config(value).init(counts, &device()).unwrap()
}

/// Five classes: frequent, one without an example, and rare ones.
pub(crate) fn counts() -> ClassCounts {
    ClassCounts::new(vec![60, 0, 25, 4, 1], vec![90, 0, 30, 4, 2], 80).unwrap()
}

/// Every method in every form.
pub(crate) fn all_configs() -> Vec<Value> {
    let tail = json!({"image-count-at-most": 4});
    vec![
        json!({"method": "cross-entropy"}),
        json!({"method": "cross-entropy", "background": true}),
        json!({"method": "binary-cross-entropy"}),
        json!({"method": "focal"}),
        json!({"method": "focal", "gamma": 0.7, "alpha": [0.1, 0.3, 0.5, 0.7, 0.9]}),
        json!({"method": "class-balanced"}),
        json!({"method": "class-balanced", "form": "sigmoid"}),
        json!({"method": "class-balanced", "form": {"focal": 1.0}}),
        json!({"method": "eql", "tail": tail}),
        json!({"method": "seql", "tail": tail, "seed": 3}),
        json!({"method": "eql-v2"}),
        json!({"method": "balanced-softmax"}),
        json!({"method": "balanced-softmax", "background": "keep"}),
        json!({"method": "balanced-softmax", "background": {"count": 12.0}}),
        json!({"method": "balanced-softmax", "background": "exclude"}),
        json!({"method": "balanced-sigmoid"}),
        json!({"method": "balanced-sigmoid", "form": "released"}),
        json!({"method": "logit-adjustment", "tau": 1.3}),
        json!({"method": "logit-adjustment", "form": "post-hoc"}),
        json!({"method": "ldam", "scale": 4.0}),
        json!({"method": "seesaw"}),
        json!({"method": "seesaw", "objectness": false}),
        json!({"method": "equalized-softmax"}),
        json!({"method": "equalized-softmax", "form": "share", "tau": 0.8}),
        json!({"method": "bags", "bounds": [3, 20], "others_ratio": 1.0, "seed": 4}),
        json!({"method": "bags", "background": false}),
        json!({"method": "loce"}),
        json!({"method": "loce", "background": false}),
        json!({"method": "efl"}),
        json!({"method": "eqfl"}),
        json!({"method": "acsl", "common_share": 0.5, "rare_share": 0.25}),
        json!({"method": "drop-loss", "tail": tail}),
        json!({"method": "federated", "sampled_classes": 4}),
        json!({"method": "federated", "sampled_classes": 4, "form": "softmax"}),
        json!({"method": "federated", "sampled_classes": 5, "form": "softmax-with-background"}),
        json!({"method": "ghm-c"}),
        json!({"method": "ghm-c", "bins": 30, "momentum": 0.75}),
    ]
}

/// Reproducible logits in about [-2, 2], without structure.
pub(crate) fn some_logits(count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| 2.0 * ((i as f64 + 1.0) * 12.9898).sin())
        .map(|v| f64::from(v as f32))
        .collect()
}
