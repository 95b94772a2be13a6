//! The two loss kernels with all their terms, and every method with and without background.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use longtail_kernels::{
    Labels, RowSet, Shift, SigmoidTerms, SoftmaxTerms, sigmoid_loss, softmax_loss,
};
use longtail_losses::{ClassificationLossConfig, LossError, RowLabels};
use longtail_types::ClassCounts;

use crate::case::{Case, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::{tensor, values};
use crate::tolerance::Arithmetic::Sums;

const NUM_ROWS: usize = 21;
/// More than a vector of the processor, and no multiple of one.
const NUM_CLASSES: usize = 37;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("sigmoid loss, all terms", Sums, sigmoid).with_host(host_sigmoid()),
        Case::new("softmax loss, all terms", Sums, softmax).with_host(host_softmax()),
    ];
    cases.extend(ClassificationLossConfig::all().into_iter().map(|config| {
        Case::new(config.method(), Sums, move |device, record| two_batches(&config, device, record))
    }));
    cases.push(Case::new("all methods, no rows", Sums, no_rows));
    cases
}

fn floats(name: &str, count: usize) -> Vec<f64> {
    values(name, count).into_iter().map(f64::from).collect()
}

/// Every column in turn; for the sigmoid, background too.
fn labels(num_labels: usize) -> Vec<usize> {
    (0..NUM_ROWS).map(|row| row * 11 % num_labels).collect()
}

fn upload(labels: &[usize], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    Tensor::from_data(TensorData::new(labels, [NUM_ROWS]), device)
}

fn sigmoid(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let table = |name: &str| Some(tensor(name, [NUM_CLASSES], device) + 1.0);
    let logits = (tensor("logits", [NUM_ROWS, NUM_CLASSES], device) * 4.0).require_grad();
    let terms = SigmoidTerms {
        shift: table("shift"),
        shift_rows: RowSet::Foreground,
        positive_weights: table("positive"),
        negative_weights: table("negative"),
        negative_weight_rows: RowSet::Foreground,
        focal_gamma: table("gamma"),
        row_weights: Some(tensor("rows", [NUM_ROWS], device) + 1.0),
        factor: 0.5,
        ..Default::default()
    };
    let labels = Labels::Classes(upload(&labels(NUM_CLASSES + 1), device));
    finish(sigmoid_loss(logits.clone(), labels, terms), &logits, record)
}

fn host_sigmoid() -> Record {
    let table = |name: &str| -> Vec<f64> {
        // The sum is rounded to f32, as on the device.
        values(name, NUM_CLASSES).into_iter().map(|v| f64::from(v + 1.0)).collect()
    };
    let (shift, gamma) = (table("shift"), table("gamma"));
    let (positive, negative) = (table("positive"), table("negative"));
    let rows: Vec<f64> = values("rows", NUM_ROWS).into_iter().map(|v| f64::from(v + 1.0)).collect();
    let upstream = floats("gradient", NUM_ROWS);
    let logits = floats("logits", NUM_ROWS * NUM_CLASSES);
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (row, label) in labels(NUM_CLASSES + 1).into_iter().enumerate() {
        let is_foreground = label < NUM_CLASSES;
        let mut loss = 0.0;
        for j in 0..NUM_CLASSES {
            let (sign, weight) = match (j == label, is_foreground) {
                (true, _) => (1.0, positive[j]),
                (false, true) => (-1.0, negative[j]),
                (false, false) => (-1.0, 1.0),
            };
            let shift = if is_foreground { shift[j] } else { 0.0 };
            let logit = sign * (4.0 * logits[row * NUM_CLASSES + j] + shift);
            let right = 1.0 / (1.0 + (-logit).exp()); // p_t
            let (wrong, log_right) = (1.0 - right, -(-logit).exp().ln_1p());
            let factor = 0.5 * rows[row] * weight * wrong.powf(gamma[j]);
            loss -= factor * log_right;
            // d/dlogit of -(1 - p)^g ln p
            let slope = gamma[j] * right * log_right - wrong;
            gradient.push(upstream[row] * factor * sign * slope);
        }
        losses.push(loss);
    }
    record_of(losses, gradient)
}

fn softmax(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let logits = (tensor("logits", [NUM_ROWS, NUM_CLASSES], device) * 4.0).require_grad();
    let terms = SoftmaxTerms {
        shift: Some(Shift::PerEntry(tensor("shift", [NUM_ROWS, NUM_CLASSES], device))),
        margin: Some(tensor("margin", [NUM_CLASSES], device)),
        scale: 1.5,
        row_weights: Some(tensor("rows", [NUM_ROWS], device) + 1.0),
        factor: 0.5,
        ..Default::default()
    };
    let labels = upload(&labels(NUM_CLASSES), device);
    finish(softmax_loss(logits.clone(), labels, terms), &logits, record)
}

fn host_softmax() -> Record {
    let logits = floats("logits", NUM_ROWS * NUM_CLASSES);
    let shift = floats("shift", NUM_ROWS * NUM_CLASSES);
    let margin = floats("margin", NUM_CLASSES);
    let rows: Vec<f64> = values("rows", NUM_ROWS).into_iter().map(|v| f64::from(v + 1.0)).collect();
    let upstream = floats("gradient", NUM_ROWS);
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (row, label) in labels(NUM_CLASSES).into_iter().enumerate() {
        let entry = |j: usize| {
            let margin = if j == label { margin[j] } else { 0.0 };
            let at = row * NUM_CLASSES + j;
            (1.5 * (4.0 * logits[at] - margin) + shift[at]).exp()
        };
        let sum: f64 = (0..NUM_CLASSES).map(entry).sum();
        losses.push(-0.5 * rows[row] * (entry(label) / sum).ln());
        gradient.extend((0..NUM_CLASSES).map(|j| {
            let target = if j == label { 1.0 } else { 0.0 };
            upstream[row] * 0.5 * rows[row] * 1.5 * (entry(j) / sum - target)
        }));
    }
    record_of(losses, gradient)
}

fn record_of(losses: Vec<f64>, gradient: Vec<f64>) -> Record {
    let mut record = Record::default();
    record.doubles(Quantity::Forward, losses);
    record.doubles(Quantity::Gradient, gradient);
    record
}

fn finish(
    losses: Tensor<1>,
    logits: &Tensor<2>,
    record: &mut Record,
) -> Result<(), ConformanceError> {
    record.tensor(Quantity::Forward, losses.clone())?;
    let gradients = (losses * tensor("gradient", [NUM_ROWS], &logits.device())).sum().backward();
    record.gradient("logits", logits, &gradients)
}

fn counts() -> Result<ClassCounts, ConformanceError> {
    let counts: Vec<u64> = (0..NUM_CLASSES as u64).map(|class| 1 + 2000 / (class + 1)).collect();
    Ok(ClassCounts::new(counts.clone(), counts, 500_000)?)
}

/// Two batches with some rows left out; the second sees the statistics of the first.
fn two_batches(
    config: &ClassificationLossConfig,
    device: &Device,
    record: &mut Record,
) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let mut loss = config.init(&counts()?, device)?;
    for batch in ["first", "second"] {
        let shape = [NUM_ROWS, loss.num_logits()];
        let logits = (tensor(&format!("{batch} logits"), shape, device) * 4.0).require_grad();
        let is_ignored: Vec<bool> = (0..NUM_ROWS).map(|row| row % 8 == 5).collect();
        let is_ignored = TensorData::new(is_ignored, [NUM_ROWS]);
        let labels = RowLabels::from_host(&labels(loss.num_labels()), loss.num_labels(), device)?
            .ignoring(Tensor::<1, Bool>::from_data(is_ignored, device));
        let output = loss.forward(logits.clone(), labels)?;
        record.tensor(Quantity::Forward, output.loss.clone())?;
        record.gradient("logits", &logits, &output.loss.backward())?;
        record.tensor(Quantity::Forward, loss.scores(logits)?)?;
        loss.apply(output.update)?;
    }
    let mut state = loss.state().into_iter();
    state.try_for_each(|(_, value)| record.tensor(Quantity::Weights, value))
}

/// A loss of 0, and a gradient without a row.
fn no_rows(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    for config in ClassificationLossConfig::all() {
        let loss = config.init(&counts()?, device)?;
        let logits = Tensor::<2>::zeros([0, loss.num_logits()], device).require_grad();
        let labels = RowLabels::from_host(&[], loss.num_labels(), device)?;
        let output: Result<_, LossError> = loss.forward(logits.clone(), labels);
        let loss = output?.loss;
        record.tensor(Quantity::Forward, loss.clone())?;
        record.gradient("logits", &logits, &loss.backward())?;
    }
    Ok(())
}
