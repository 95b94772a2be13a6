//! Batch normalization and rectified linear units against slow loops.

mod reference;

use burn::tensor::Tensor;
use longtail_kernels::{
    BatchNormOutput, add_relu, batch_norm_eval, batch_norm_train, composed, relu,
};
use longtail_testing::{assert_close, device, values};
use reference::{batch_norm, numbers, tensor};

const EPSILON: f64 = 1e-5;

const SHAPES: [[usize; 4]; 6] =
    [[4, 16, 32, 32], [3, 5, 7, 9], [1, 3, 1, 2], [17, 64, 8, 8], [2, 1, 100, 90], [5, 33, 1, 1]];

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn batch_norm_matches_slow_loops() {
    type Form = fn(Tensor<4>, Tensor<1>, Tensor<1>, f64) -> BatchNormOutput;
    let forms: [(&str, Form); 2] =
        [("fused", batch_norm_train), ("composed", composed::batch_norm_train)];
    for (name, form) in forms {
        for shape in SHAPES {
            let [len, channels] = [shape.iter().product(), shape[1]];
            let x: Vec<f32> = numbers(len, 1).iter().map(|x| 3.0 * x + 0.5).collect();
            let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
            let g = numbers(len, 4);
            let expected = batch_norm(shape, [&x, &weight, &bias, &g], EPSILON);

            let device = device().autodiff();
            let x = tensor(&x, shape, &device).require_grad();
            let weight = tensor(&weight, [channels], &device).require_grad();
            let bias = tensor(&bias, [channels], &device).require_grad();
            let result = form(x.clone(), weight.clone(), bias.clone(), EPSILON);
            let grads = (result.output.clone() * tensor(&g, shape, &device)).sum().backward();
            let close = |what: &str, actual: Vec<f32>, expected: &[f64]| {
                assert_close(&format!("{name} {what} {shape:?}"), &actual, expected, 2e-5);
            };
            close("output", values(result.output), &expected.output);
            close("mean", values(result.mean), &expected.mean);
            close("variance", values(result.variance), &expected.variance);
            close("weight gradient", values(weight.grad(&grads).unwrap()), &expected.weight);
            close("bias gradient", values(bias.grad(&grads).unwrap()), &expected.bias);
            if shape != [1, 3, 1, 2] {
                // Two values per channel leave a gradient of nearly 0, that is, of rounding.
                close("input gradient", values(x.grad(&grads).unwrap()), &expected.x);
            }
        }
    }
}

/// Runs the test above once more in processes of their own, limited to other instruction sets.
#[test]
fn other_instruction_sets() {
    for limit in ["avx2", "portable"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["batch_norm_matches_slow_loops", "relu_and_its_gradient"])
            .env("LONGTAIL_SIMD", limit)
            .output()
            .unwrap();
        assert!(status.status.success(), "{limit}: {}", String::from_utf8_lossy(&status.stdout));
    }
}

#[test]
fn variance_is_stable_far_from_zero() {
    let shape = [8, 3, 40, 40];
    let x: Vec<f32> = numbers(shape.iter().product(), 1).iter().map(|x| x + 5000.0).collect();
    let ones = [1.0; 3];
    let expected = batch_norm(shape, [&x, &ones, &ones, &x], EPSILON);
    let ones = Tensor::<1>::ones([3], &device());
    let result = batch_norm_train(tensor(&x, shape, &device()), ones.clone(), ones, EPSILON);
    assert_close("mean", &values(result.mean), &expected.mean, 5e-7);
    assert_close("variance", &values(result.variance), &expected.variance, 1e-5);
}

#[test]
fn statistics_carry_no_gradient() {
    let device = device().autodiff();
    let x = tensor(&numbers(2 * 3 * 16, 1), [2, 3, 4, 4], &device).require_grad();
    let ones = Tensor::<1>::ones([3], &device);
    let result = batch_norm_train(x, ones.clone(), ones, EPSILON);
    assert!(!result.mean.is_require_grad() && !result.variance.is_require_grad());
}

#[test]
fn batch_norm_of_an_empty_batch() {
    let device = device().autodiff();
    let x = Tensor::<4>::zeros([0, 3, 4, 4], &device);
    let ones = Tensor::<1>::ones([3], &device);
    let result = batch_norm_train(x, ones.clone(), ones, EPSILON);
    assert_eq!(result.output.dims(), [0, 3, 4, 4]);
    assert_eq!(values(result.mean), [0.0; 3]);
    assert_eq!(values(result.variance), [0.0; 3]);
}

#[test]
fn batch_norm_eval_matches_slow_loops_and_its_composed_form() {
    let shape = [3, 5, 7, 9];
    let plane = 63;
    let x = numbers(3 * 5 * plane, 1);
    let [weight, bias, mean] = [numbers(5, 2), numbers(5, 3), numbers(5, 4)];
    let variance: Vec<f32> = numbers(5, 5).iter().map(|v| v + 1.5).collect();
    let expected: Vec<f64> = (0..x.len())
        .map(|i| {
            let c = i / plane % 5;
            let [w, b, m] = [weight[c], bias[c], mean[c]].map(f64::from);
            (f64::from(x[i]) - m) / (f64::from(variance[c]) + EPSILON).sqrt() * w + b
        })
        .collect();
    let device = device().autodiff();
    let g = tensor(&numbers(x.len(), 6), shape, &device);
    let x = tensor(&x, shape, &device).require_grad();
    let [weight, bias] = [weight, bias].map(|v| tensor(&v, [5], &device).require_grad());
    let [mean, variance] = [mean, variance].map(|v| tensor(&v, [5], &device));
    let run = |form: fn(_, _, _, _, _, _) -> Tensor<4>| {
        let output =
            form(x.clone(), weight.clone(), bias.clone(), mean.clone(), variance.clone(), EPSILON);
        let grads = (output.clone() * g.clone()).sum().backward();
        let gradients = [
            values(x.grad(&grads).unwrap()),
            values(weight.grad(&grads).unwrap()),
            values(bias.grad(&grads).unwrap()),
        ];
        (values(output), gradients)
    };
    let (output, gradients) = run(batch_norm_eval);
    let (composed_output, composed_gradients) = run(composed::batch_norm_eval);
    assert_close("fused", &output, &expected, 2e-6);
    assert_close("composed", &composed_output, &expected, 2e-6);
    for (fused, composed) in gradients.iter().zip(&composed_gradients) {
        assert_close("gradient", fused, &doubles(composed), 5e-6);
    }
}

#[test]
fn relu_and_its_gradient() {
    let device = device().autodiff();
    let [a, b, g] = [1, 2, 3].map(|seed| numbers(3 * 5 * 7 * 9, seed));
    let shape = [3, 5, 7, 9];
    let [x, y] = [&a, &b].map(|values| tensor(values, shape, &device).require_grad());
    let weight = tensor(&g, shape, &device);

    let output = relu(x.clone());
    let grads = (output.clone() * weight.clone()).sum().backward();
    let expected: Vec<f32> = a.iter().map(|v| v.max(0.0)).collect();
    assert_eq!(values(output), expected);
    let expected: Vec<f32> =
        a.iter().zip(&g).map(|(v, g)| if *v > 0.0 { *g } else { 0.0 }).collect();
    assert_eq!(values(x.grad(&grads).unwrap()), expected);

    let output = add_relu(x.clone(), y.clone());
    let grads = (output.clone() * weight).sum().backward();
    let sums = || a.iter().zip(&b).map(|(a, b)| a + b);
    assert_eq!(values(output), sums().map(|v| v.max(0.0)).collect::<Vec<_>>());
    let expected: Vec<f32> = sums().zip(&g).map(|(v, g)| if v > 0.0 { *g } else { 0.0 }).collect();
    assert_eq!(values(x.grad(&grads).unwrap()), expected);
    assert_eq!(values(y.grad(&grads).unwrap()), expected);
}

#[test]
fn inputs_in_use_elsewhere_stay_as_they_are() {
    let x = numbers(2 * 3 * 16, 1);
    let shape = [2, 3, 4, 4];
    let ones = Tensor::<1>::ones([3], &device());
    let input = tensor(&x, shape, &device());
    relu(input.clone());
    add_relu(input.clone(), input.clone());
    batch_norm_train(input.clone(), ones.clone(), ones, EPSILON);
    assert_eq!(values(input), x);
}

#[test]
fn views_and_empty_tensors() {
    let x = numbers(2 * 3 * 20, 1);
    let view = tensor(&x, [2, 4, 5, 3], &device()).permute([0, 3, 1, 2]);
    let expected: Vec<f32> = values(view.clone()).iter().map(|v| v.max(0.0)).collect();
    assert_eq!(values(relu(view)), expected);
    let empty = Tensor::<4>::zeros([0, 3, 4, 4], &device());
    assert_eq!(add_relu(relu(empty.clone()), empty).dims(), [0, 3, 4, 4]);
}

#[test]
fn nan_stays_visible() {
    let x = tensor(&[f32::NAN, -1.0, 2.0], [1, 1, 1, 3], &device());
    let output = values(relu(x));
    assert!(output[0].is_nan());
    assert_eq!(output[1..], [0.0, 2.0]);
}

#[test]
#[should_panic(expected = "shape")]
fn add_relu_refuses_different_shapes() {
    let zeros = |width| Tensor::<4>::zeros([1, 1, 1, width], &device());
    add_relu(zeros(2), zeros(3));
}
