//! Convolution against slow loops: values and all gradients, both forms.
#![allow(clippy::unwrap_used, reason = "tests")]

mod reference;

use burn::tensor::{Device, Tensor};
use longtail_kernels::{ConvOptions, composed, conv2d};
use longtail_testing::{assert_close, device, values};
use reference::{ConvCase, conv, numbers, tensor};

type Conv2d = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, &ConvOptions) -> Tensor<4>;

/// Relative to the largest value.
const TOLERANCE: f64 = 5e-6;
/// Where tiles of 4 x 4 outputs may be used.
const WINOGRAD_TOLERANCE: f64 = 3e-5;

fn case(x: [usize; 4], weight: [usize; 4], stride: usize, padding: usize) -> ConvCase {
    let options =
        ConvOptions { stride: [stride; 2], padding: [padding; 2], dilation: [1; 2], groups: 1 };
    ConvCase { x, weight, options, has_bias: false }
}

fn cases() -> Vec<ConvCase> {
    let mut cases = vec![
        // The layers of a small residual network.
        case([3, 3, 32, 32], [16, 3, 3, 3], 1, 1),
        case([5, 16, 32, 32], [16, 16, 3, 3], 1, 1),
        case([2, 16, 32, 32], [32, 16, 3, 3], 2, 1),
        case([9, 32, 16, 16], [32, 32, 3, 3], 1, 1),
        case([3, 32, 16, 16], [64, 32, 3, 3], 2, 1),
        case([17, 64, 8, 8], [64, 64, 3, 3], 1, 1),
        case([2, 16, 32, 32], [32, 16, 1, 1], 2, 0),
        // Odd sizes, channels beside full tiles, all paddings.
        case([2, 5, 13, 11], [7, 5, 3, 3], 1, 1),
        case([2, 9, 9, 15], [17, 9, 3, 3], 2, 1),
        case([1, 3, 7, 5], [1, 3, 3, 3], 1, 0),
        case([1, 2, 5, 7], [3, 2, 3, 3], 1, 3),
        case([4, 1, 6, 6], [1, 1, 3, 3], 3, 2),
        case([2, 12, 14, 14], [20, 12, 1, 1], 1, 0),
        case([2, 24, 7, 7], [40, 24, 1, 1], 1, 0),
        case([2, 8, 9, 9], [8, 8, 1, 1], 3, 1),
        case([2, 3, 29, 31], [10, 3, 7, 7], 2, 3),
        case([1, 4, 8, 8], [4, 4, 8, 8], 1, 0),
        case([3, 4, 4, 4], [6, 4, 3, 3], 1, 1),
        case([3, 4, 2, 2], [6, 4, 3, 3], 2, 1),
        case([1, 1, 1, 1], [1, 1, 1, 1], 1, 0),
        // More channels and rows than fit the cache at once.
        case([1, 160, 40, 40], [12, 160, 3, 3], 1, 1),
        case([1, 3, 230, 150], [5, 3, 3, 3], 1, 1),
        case([1, 600, 17, 17], [9, 600, 3, 3], 1, 1),
    ];
    let mut special = case([2, 12, 10, 9], [18, 4, 3, 3], 1, 1);
    special.options.groups = 3;
    cases.push(special);
    special = case([2, 8, 12, 12], [8, 1, 3, 3], 2, 1);
    special.options.groups = 8;
    cases.push(special);
    special = case([2, 4, 16, 16], [5, 4, 3, 3], 1, 2);
    special.options.dilation = [2; 2];
    cases.push(special);
    special = case([2, 4, 13, 17], [6, 2, 3, 2], 1, 1);
    special.options = ConvOptions { stride: [2, 3], padding: [3, 1], dilation: [3, 2], groups: 2 };
    cases.push(special);
    for (index, case) in cases.iter_mut().enumerate() {
        case.has_bias = index % 2 == 0;
    }
    cases
}

fn tolerance(case: &ConvCase) -> f64 {
    let ConvOptions { stride, dilation, groups, .. } = case.options;
    let is_winograd = case.weight[2..] == [3, 3] && stride == [1; 2] && dilation == [1; 2];
    if is_winograd && groups == 1 { WINOGRAD_TOLERANCE } else { TOLERANCE }
}

fn check(name: &str, conv2d: Conv2d, case: &ConvCase, device: &Device) {
    let [x, weight, bias, g] = [
        numbers(case.x.iter().product(), 1),
        numbers(case.weight.iter().product(), 2),
        numbers(case.weight[0], 3),
        numbers(case.output().iter().product(), 4),
    ];
    let expected = conv(case, &x, &weight, &bias, &g);
    let device = device.clone().autodiff();
    let x = tensor(&x, case.x, &device).require_grad();
    let weight = tensor(&weight, case.weight, &device).require_grad();
    let bias = tensor(&bias, [case.weight[0]], &device).require_grad();
    let optional = case.has_bias.then(|| bias.clone());
    let output = conv2d(x.clone(), weight.clone(), optional, &case.options);
    assert_eq!(output.dims(), case.output(), "{name} {case:?}");
    let grads = (output.clone() * tensor(&g, case.output(), &device)).sum().backward();

    let close = |what: &str, actual: Vec<f32>, expected: &[f64]| {
        assert_close(&format!("{name} {what} of {case:?}"), &actual, expected, tolerance(case));
    };
    close("output", values(output), &expected.output);
    close("input gradient", values(x.grad(&grads).unwrap()), &expected.x);
    close("weight gradient", values(weight.grad(&grads).unwrap()), &expected.weight);
    if case.has_bias {
        close("bias gradient", values(bias.grad(&grads).unwrap()), &expected.bias);
    }
}

#[test]
fn values_and_gradients_match_slow_loops() {
    for case in cases() {
        check("conv2d", conv2d, &case, &device());
    }
}

#[test]
fn composed_form_matches_slow_loops() {
    for case in cases().iter().filter(|case| case.x.iter().product::<usize>() < 100_000) {
        check("composed", composed::conv2d, case, &device());
    }
}

#[test]
fn without_gradients() {
    let case = case([2, 5, 13, 11], [7, 5, 3, 3], 1, 1);
    let (x, weight) = (numbers(2 * 5 * 13 * 11, 1), numbers(7 * 5 * 9, 2));
    let expected = conv(&case, &x, &weight, &[], &vec![0.0; 2 * 7 * 13 * 11]);
    let [x, weight] = [tensor(&x, case.x, &device()), tensor(&weight, case.weight, &device())];
    let output = conv2d(x, weight, None, &case.options);
    assert_close("output", &values(output), &expected.output, TOLERANCE);
}

#[test]
fn only_asked_gradients_are_computed() {
    let device = device().autodiff();
    let x = tensor(&numbers(2 * 3 * 64, 1), [2, 3, 8, 8], &device);
    let weight = tensor(&numbers(4 * 3 * 9, 2), [4, 3, 3, 3], &device);
    let options = ConvOptions::default();
    let trained = weight.clone().require_grad();
    let grads = conv2d(x.clone(), trained.clone(), None, &options).sum().backward();
    assert!(x.grad(&grads).is_none() && trained.grad(&grads).is_some());
    let image = x.require_grad();
    let grads = conv2d(image.clone(), weight.clone(), None, &options).sum().backward();
    assert!(image.grad(&grads).is_some() && weight.grad(&grads).is_none());
}

#[test]
fn non_contiguous_inputs() {
    let device = device().autodiff();
    let x = numbers(2 * 6 * 9 * 7, 1);
    let weight = numbers(6 * 4 * 3 * 3, 2);
    // A transposed, narrowed view against the same values copied.
    let view = tensor(&x, [6, 2, 7, 9], &device).permute([1, 0, 3, 2]).narrow(1, 1, 4);
    let copy = tensor(&values(view.clone()), [2, 4, 9, 7], &device);
    let weight = tensor(&weight, [4, 6, 3, 3], &device).swap_dims(0, 1);
    let weight_copy = tensor(&values(weight.clone()), [6, 4, 3, 3], &device);
    let options = ConvOptions { padding: [1, 1], ..Default::default() };
    let actual = values(conv2d(view, weight, None, &options));
    let expected: Vec<f64> =
        values(conv2d(copy, weight_copy, None, &options)).iter().map(|&v| f64::from(v)).collect();
    assert_close("view", &actual, &expected, 0.0);
}

#[test]
fn empty_batch() {
    let device = device().autodiff();
    let x = Tensor::<4>::zeros([0, 3, 8, 8], &device).require_grad();
    let weight = Tensor::<4>::ones([4, 3, 3, 3], &device).require_grad();
    let output = conv2d(x.clone(), weight.clone(), None, &ConvOptions::default());
    assert_eq!(output.dims(), [0, 4, 6, 6]);
}

#[test]
fn same_bits_with_any_number_of_threads() {
    let run = |case: &ConvCase| {
        let device = device().autodiff();
        let x = tensor(&numbers(case.x.iter().product(), 1), case.x, &device).require_grad();
        let weight = numbers(case.weight.iter().product(), 2);
        let weight = tensor(&weight, case.weight, &device).require_grad();
        let output = conv2d(x.clone(), weight.clone(), None, &case.options);
        let grads = output.powi_scalar(2).sum().backward();
        [values(x.grad(&grads).unwrap()), values(weight.grad(&grads).unwrap())]
    };
    for case in [
        case([20, 16, 32, 32], [16, 16, 3, 3], 1, 1),
        case([1, 160, 40, 40], [12, 160, 3, 3], 2, 1),
    ] {
        let first = run(&case);
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| run(&case)), first, "{threads} threads");
        }
    }
}

/// Runs the tests above once more in processes of their own, limited to other instruction sets.
#[test]
fn other_instruction_sets() {
    for limit in ["avx2", "portable"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["values_and_gradients_match_slow_loops", "same_bits"])
            .env("LONGTAIL_SIMD", limit)
            .output()
            .unwrap();
        assert!(status.status.success(), "{limit}: {}", String::from_utf8_lossy(&status.stdout));
    }
}

#[test]
fn gradient_matches_central_differences() {
    let device = device();
    let (x, weight) = (numbers(2 * 3 * 6 * 6, 1), numbers(4 * 3 * 9, 2));
    let options = ConvOptions { stride: [2, 2], padding: [1, 1], ..Default::default() };
    let loss = |x: Tensor<4>, weight: Tensor<4>| conv2d(x, weight, None, &options).tanh().sum();
    let tracked = device.clone().autodiff();
    let trained = tensor(&weight, [4, 3, 3, 3], &tracked).require_grad();
    let grads = loss(tensor(&x, [2, 3, 6, 6], &tracked), trained.clone()).backward();
    let gradient = values(trained.grad(&grads).unwrap());
    for index in [0, 17, 50, 107] {
        let at = |step: f32| {
            let mut moved = weight.clone();
            moved[index] += step;
            let moved = tensor(&moved, [4, 3, 3, 3], &device);
            values(loss(tensor(&x, [2, 3, 6, 6], &device), moved))[0]
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((slope - gradient[index]).abs() < 5e-3, "{index}: {slope} {}", gradient[index]);
    }
}

#[test]
#[should_panic(expected = "does not fit into an input of 4x4")]
fn refuses_a_kernel_that_does_not_fit() {
    let x = Tensor::<4>::zeros([1, 1, 4, 4], &device());
    conv2d(x, Tensor::zeros([1, 1, 5, 5], &device()), None, &ConvOptions::default());
}

#[test]
#[should_panic(expected = "do not agree")]
fn refuses_channels_that_do_not_agree() {
    let x = Tensor::<4>::zeros([1, 3, 4, 4], &device());
    conv2d(x, Tensor::zeros([1, 2, 3, 3], &device()), None, &ConvOptions::default());
}
