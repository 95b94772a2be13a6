//! Fully connected layers, fused and composed, against slow loops.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Device, Tensor, TensorData};
use longtail_kernels::{composed, linear, linear_relu};
use longtail_testing::{assert_close, device, values};

type Form = fn(Tensor<2>, Tensor<2>, Option<Tensor<1>>) -> Tensor<2>;

/// Rows, inputs, outputs: whole and broken vectors, blocks and steps of the depth.
const SHAPES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [3, 5, 2],
    [4, 320, 24],
    [70, 33, 97],
    [131, 641, 50],
    [200, 64, 365],
    [65, 960, 7],
    [5, 7, 260],
];

fn wave(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 + 0.5) * step).sin()).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Output, and the gradients of `sum(output * direction)` for input, weight and bias.
struct Expected {
    output: Vec<f64>,
    gradients: [Vec<f64>; 3],
}

fn slow(x: &[f32], weight: &[f32], bias: &[f32], direction: &[f32], is_relu: bool) -> Expected {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let rows = x.len() / inputs;
    let mut output = Vec::new();
    let mut gradients = [vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; outputs]];
    for row in 0..rows {
        for out in 0..outputs {
            let mut sum = f64::from(bias[out]);
            for k in 0..inputs {
                sum += f64::from(x[row * inputs + k]) * f64::from(weight[out * inputs + k]);
            }
            let is_off = is_relu && sum < 0.0;
            output.push(if is_off { 0.0 } else { sum });
            let slope = if is_off { 0.0 } else { f64::from(direction[row * outputs + out]) };
            for k in 0..inputs {
                gradients[0][row * inputs + k] += slope * f64::from(weight[out * inputs + k]);
                gradients[1][out * inputs + k] += slope * f64::from(x[row * inputs + k]);
            }
            gradients[2][out] += slope;
        }
    }
    Expected { output, gradients }
}

#[test]
fn values_and_gradients_follow_the_definition() {
    let device = device().autodiff();
    let forms: [(Form, bool); 4] = [
        (linear, false),
        (linear_relu, true),
        (composed::linear, false),
        (composed::linear_relu, true),
    ];
    for [rows, inputs, outputs] in SHAPES {
        let (x, weight) = (wave(rows * inputs, 0.37), wave(outputs * inputs, 0.71));
        let (bias, direction) = (wave(outputs, 1.3), wave(rows * outputs, 0.53));
        for (form, is_relu) in forms {
            let expected = slow(&x, &weight, &bias, &direction, is_relu);
            let x = tensor(&x, [rows, inputs], &device).require_grad();
            let weight = tensor(&weight, [outputs, inputs], &device).require_grad();
            let bias = tensor(&bias, [outputs], &device).require_grad();
            let output = form(x.clone(), weight.clone(), Some(bias.clone()));
            assert_close("output", &values(output.clone()), &expected.output, 1e-5);
            let direction = tensor(&direction, [rows, outputs], &device);
            let gradients = (output * direction).sum().backward();
            let [of_x, of_weight, of_bias] = &expected.gradients;
            assert_close("input", &values(x.grad(&gradients).unwrap()), of_x, 1e-5);
            assert_close("weight", &values(weight.grad(&gradients).unwrap()), of_weight, 1e-5);
            assert_close("bias", &values(bias.grad(&gradients).unwrap()), of_bias, 1e-5);
        }
    }
}

#[test]
fn transposed_inputs_no_bias_and_no_rows() {
    let device = device();
    let x = tensor(&wave(12, 0.3), [3, 4], &device);
    let weight = tensor(&wave(12, 0.7), [4, 3], &device);
    let found = linear(x.clone().transpose(), weight.clone(), None);
    let expected: Vec<f64> = values(composed::linear(x.transpose(), weight.clone(), None))
        .into_iter()
        .map(f64::from)
        .collect();
    assert_close("transposed", &values(found), &expected, 1e-6);
    let none = linear_relu(Tensor::zeros([0, 3], &device), weight, None);
    assert_eq!(none.dims(), [0, 4]);
    let bias = tensor(&[1.0, -2.0], [2], &device);
    let nothing =
        linear_relu(Tensor::zeros([1, 0], &device), Tensor::zeros([2, 0], &device), Some(bias));
    assert_eq!(values(nothing), [1.0, 0.0]);
}

/// The input alone, or the weight alone, may be trained.
#[test]
fn untrained_parents_get_no_gradient() {
    let device = device().autodiff();
    let x = tensor(&wave(12, 0.3), [3, 4], &device);
    let weight = tensor(&wave(8, 0.7), [2, 4], &device);
    let trained = x.clone().require_grad();
    let gradients = linear(trained.clone(), weight.clone(), None).sum().backward();
    assert!(trained.grad(&gradients).is_some() && weight.grad(&gradients).is_none());
    let trained = weight.require_grad();
    let gradients = linear(x.clone(), trained.clone(), None).sum().backward();
    assert!(trained.grad(&gradients).is_some() && x.grad(&gradients).is_none());
}
