//! The losses beside double precision, on whatever device is tested: the fused form, where there
//! is one, is within a few roundings of single precision.

mod reference;

use burn::tensor::{Int, Tensor, TensorData};
use longtail_kernels::{Labels, SigmoidTerms, SoftmaxTerms, sigmoid_loss, softmax_loss};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{numbers, tensor};

const SHAPE: [usize; 2] = [24, 1203];
/// Columns of rows that are too long for a scratch.
const WIDE: usize = 5001;
/// Roundings of single precision, of 6e-8 each: 5, and 10 where ordinary operations follow each other.
fn tolerance() -> f64 {
    if is_flex() { 3e-7 } else { 6e-7 }
}

fn label(row: usize) -> usize {
    row * 57 % SHAPE[1]
}

fn labels() -> Tensor<1, Int> {
    let labels: Vec<i32> = (0..SHAPE[0]).map(|row| label(row) as i32).collect();
    Tensor::from_data(TensorData::new(labels, [SHAPE[0]]), &device())
}

fn logits(scale: f32) -> Vec<f32> {
    numbers(SHAPE[0] * SHAPE[1], 3).into_iter().map(|value| value * scale).collect()
}

/// One value per row, each asked to be near by itself.
fn assert_rows_close(name: &str, actual: &[f32], expected: &[f64]) {
    for (row, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_close(&format!("{name}, row {row}"), &[*actual], &[*expected], tolerance());
    }
}

/// Losses of rows, and gradients, from `entry(logit, is_positive)`.
fn by_entries(logits: &[f32], entry: impl Fn(f64, bool) -> (f64, f64)) -> (Vec<f64>, Vec<f64>) {
    let (mut losses, mut gradient) = (vec![0.0; SHAPE[0]], Vec::new());
    for (row, logits) in logits.chunks(SHAPE[1]).enumerate() {
        for (column, &logit) in logits.iter().enumerate() {
            let (loss, slope) = entry(f64::from(logit), column == label(row));
            losses[row] += loss;
            gradient.push(slope);
        }
    }
    (losses, gradient)
}

#[test]
fn sigmoid_losses() {
    for scale in [0.01, 1.0, 6.0, 15.0] {
        for gamma in [0.0_f64, 2.0, 0.75] {
            let raw = logits(scale);
            let (losses, gradient) = by_entries(&raw, |logit, is_positive| {
                let signed = if is_positive { logit } else { -logit };
                let miss = (-signed).max(0.0) + (-signed.abs()).exp().ln_1p();
                let [right, wrong] = [signed, -signed].map(|x| 1.0 / (1.0 + (-x).exp()));
                let focal = wrong.powf(gamma);
                let slope = focal * (wrong + gamma * right * miss);
                (focal * miss, if is_positive { -slope } else { slope })
            });
            let tracked = tensor(&raw, SHAPE, &device().autodiff()).require_grad();
            let terms = SigmoidTerms {
                focal_gamma: (gamma > 0.0)
                    .then(|| Tensor::full([SHAPE[1]], gamma as f32, &device())),
                ..Default::default()
            };
            let loss = sigmoid_loss(tracked.clone(), Labels::Classes(labels()), terms);
            let slopes = loss.clone().sum().backward();
            let name = format!("scale {scale}, gamma {gamma}");
            assert_rows_close(&name, &values(loss), &losses);
            assert_close(
                &name,
                &values(tracked.grad(&slopes).expect("the logits are tracked")),
                &gradient,
                if is_flex() { 1e-6 } else { 3e-6 },
            );
        }
    }
}

#[test]
fn softmax_losses() {
    let scales = [0.01, 1.0, 6.0, 15.0, 80.0];
    for (num_columns, scale) in [SHAPE[1], WIDE].iter().flat_map(|&n| scales.map(|s| (n, s))) {
        let raw = numbers(SHAPE[0] * num_columns, 3);
        let raw: Vec<f32> = raw.into_iter().map(|value| value * scale).collect();
        let (mut losses, mut gradient) = (Vec::new(), Vec::new());
        for (row, logits) in raw.chunks(num_columns).enumerate() {
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            losses.push(sum.ln() - f64::from(logits[label(row)]));
            gradient.extend(logits.iter().enumerate().map(|(column, &logit)| {
                f64::from(logit).exp() / sum - f64::from(u8::from(column == label(row)))
            }));
        }
        let tracked = tensor(&raw, [SHAPE[0], num_columns], &device().autodiff()).require_grad();
        let loss = softmax_loss(tracked.clone(), labels(), SoftmaxTerms::default());
        let slopes = loss.clone().sum().backward();
        let name = format!("{num_columns} columns, scale {scale}");
        assert_rows_close(&name, &values(loss), &losses);
        assert_close(
            &name,
            &values(tracked.grad(&slopes).expect("the logits are tracked")),
            &gradient,
            1e-6,
        );
    }
}
