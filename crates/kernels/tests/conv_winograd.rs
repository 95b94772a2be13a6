//! Minimal filtering and what follows a convolution in the same pass, against slow loops.
#![allow(clippy::unwrap_used, reason = "tests")]

mod reference;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;
use longtail_kernels::{
    ConvOptions, Winograd, add_relu, composed, conv2d, conv2d_bias_add_relu, conv2d_bias_relu,
    relu, set_winograd, winograd,
};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{ConvCase, conv, numbers, tensor};

/// Holds the setting of the process; the default comes back in the end.
struct Setting(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Setting {
    fn new(setting: Winograd) -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        set_winograd(setting);
        Self(guard)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        set_winograd(Winograd::F4x4);
    }
}

fn case(x: [usize; 4], out_channels: usize, padding: usize) -> ConvCase {
    let options = ConvOptions { padding: [padding; 2], ..Default::default() };
    ConvCase { x, weight: [out_channels, x[1], 3, 3], options, has_bias: true }
}

fn cases() -> Vec<ConvCase> {
    let mut cases = vec![
        // One pixel, less than a tile, odd sizes, every padding.
        case([1, 16, 1, 1], 16, 1),
        case([2, 17, 3, 3], 19, 0),
        case([1, 16, 2, 5], 33, 1),
        case([3, 20, 7, 9], 16, 1),
        case([2, 40, 13, 11], 50, 0),
        case([1, 33, 12, 30], 17, 2),
        case([2, 16, 5, 70], 130, 1),
        // Few channels take another way.
        case([2, 1, 6, 6], 3, 1),
        case([2, 5, 9, 8], 17, 1),
        // Many tiles, with few and with many channels; more channels than are worked on at once.
        case([2, 18, 50, 47], 24, 1),
        case([1, 70, 48, 50], 72, 1),
        case([2, 300, 10, 10], 40, 1),
        case([2, 40, 10, 10], 300, 1),
    ];
    let mut uneven = case([2, 24, 9, 14], 18, 0);
    uneven.options.padding = [2, 1];
    cases.push(uneven);
    cases
}

fn check(case: &ConvCase, tolerance: f64) {
    let [x, weight, bias, g] = [
        numbers(case.x.iter().product(), 1),
        numbers(case.weight.iter().product(), 2),
        numbers(case.weight[0], 3),
        numbers(case.output().iter().product(), 4),
    ];
    let expected = conv(case, &x, &weight, &bias, &g);
    let device = device().autodiff();
    let x = tensor(&x, case.x, &device).require_grad();
    let weight = tensor(&weight, case.weight, &device).require_grad();
    let bias = tensor(&bias, [case.weight[0]], &device);
    let output = conv2d(x.clone(), weight.clone(), Some(bias), &case.options);
    let grads = (output.clone() * tensor(&g, case.output(), &device)).sum().backward();
    for (what, actual, expected) in [
        ("output", values(output), &expected.output),
        ("input gradient", values(x.grad(&grads).unwrap()), &expected.x),
        ("weight gradient", values(weight.grad(&grads).unwrap()), &expected.weight),
    ] {
        assert_close(&format!("{what} of {case:?}"), &actual, expected, tolerance);
    }
}

#[test]
fn small_tiles_match_slow_loops() {
    let _setting = Setting::new(Winograd::F2x2);
    // Elsewhere Burn's own convolution runs, which sums in another order.
    let tolerance = if is_flex() { 1e-6 } else { 3e-6 };
    cases().iter().for_each(|case| check(case, tolerance));
}

#[test]
fn large_tiles_match_slow_loops() {
    let _setting = Setting::new(Winograd::F4x4);
    cases().iter().for_each(|case| check(case, 3e-5));
}

/// Runs the tests above once more in processes of their own, limited to other instruction sets.
#[test]
fn other_instruction_sets() {
    if !is_flex() {
        return;
    }
    for limit in ["avx2", "portable"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("match_slow_loops")
            .env("LONGTAIL_SIMD", limit)
            .output()
            .unwrap();
        assert!(status.status.success(), "{limit}: {}", String::from_utf8_lossy(&status.stdout));
    }
}

#[test]
fn the_setting_chooses_the_arithmetic() {
    if !is_flex() {
        return;
    }
    let case = case([1, 32, 20, 20], 32, 1);
    let x = tensor(&numbers(case.x.iter().product(), 1), case.x, &device());
    let weight = tensor(&numbers(case.weight.iter().product(), 2), case.weight, &device());
    let [off, two, four] = [Winograd::Off, Winograd::F2x2, Winograd::F4x4].map(|setting| {
        let _setting = Setting::new(setting);
        assert_eq!(winograd(), setting);
        values(conv2d(x.clone(), weight.clone(), None, &case.options))
    });
    assert!(off != two && two != four && off != four);
}

#[test]
fn the_backward_pass_keeps_the_setting_of_its_graph() {
    let case = case([1, 32, 20, 20], 32, 1);
    let gradient = |after: Winograd| {
        let _setting = Setting::new(Winograd::F4x4);
        let device = device().autodiff();
        let x = tensor(&numbers(case.x.iter().product(), 1), case.x, &device).require_grad();
        let weight = tensor(&numbers(case.weight.iter().product(), 2), case.weight, &device);
        let output = conv2d(x.clone(), weight, None, &case.options);
        set_winograd(after);
        values(x.grad(&output.powi_scalar(2).sum().backward()).unwrap())
    };
    assert_eq!(gradient(Winograd::Off), gradient(Winograd::F4x4));
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
    let mut pixels = case([2, 40, 31, 30], 70, 0);
    pixels.weight = [70, 40, 1, 1];
    let mut few_pixels = case([2, 140, 7, 7], 70, 0);
    (few_pixels.weight, few_pixels.options.stride) = ([70, 140, 1, 1], [2, 2]);
    let mut strided = case([2, 24, 21, 20], 40, 1);
    strided.options.stride = [2, 2];
    let cases =
        [case([2, 18, 50, 47], 24, 1), case([1, 70, 48, 50], 72, 1), case([2, 40, 9, 9], 70, 1)];
    let _setting = Setting::new(Winograd::F4x4);
    for case in cases.iter().chain([&pixels, &few_pixels, &strided]) {
        let first = run(case);
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| run(case)), first, "{threads} threads, {case:?}");
        }
    }
}

/// Output and gradients of input, weight, bias and residual.
fn with_relu(case: &ConvCase, has_residual: bool, is_fused: bool) -> Vec<Vec<f32>> {
    let device = device().autodiff();
    let tracked = |len: usize, seed| numbers(len, seed);
    let x = tensor(&tracked(case.x.iter().product(), 1), case.x, &device).require_grad();
    let weight = tracked(case.weight.iter().product(), 2);
    let weight = tensor(&weight, case.weight, &device).require_grad();
    let out_channels = case.weight[0];
    let bias = tensor(&tracked(out_channels, 3), [out_channels], &device).require_grad();
    let len = case.output().iter().product();
    let residual: Tensor<4> = tensor(&tracked(len, 5), case.output(), &device).require_grad();
    let options = &case.options;
    let output = match (has_residual, is_fused) {
        (false, true) => conv2d_bias_relu(x.clone(), weight.clone(), bias.clone(), options),
        (true, true) => {
            let residual = residual.clone();
            conv2d_bias_add_relu(x.clone(), weight.clone(), bias.clone(), residual, options)
        }
        (_, false) => {
            let y = composed::conv2d(x.clone(), weight.clone(), Some(bias.clone()), options);
            if has_residual { add_relu(y, residual.clone()) } else { relu(y) }
        }
    };
    let grads = (output.clone() * tensor(&numbers(len, 4), case.output(), &device)).sum();
    let grads = grads.backward();
    let mut results = vec![
        values(output),
        values(x.grad(&grads).unwrap()),
        values(weight.grad(&grads).unwrap()),
        values(bias.grad(&grads).unwrap()),
    ];
    if has_residual {
        results.push(values(residual.grad(&grads).unwrap()));
    }
    results
}

#[test]
fn bias_residual_and_relu_in_the_same_pass() {
    let _setting = Setting::new(Winograd::F2x2);
    let mut pixels = case([2, 20, 10, 9], 24, 0);
    pixels.weight = [24, 20, 1, 1];
    let mut strided = pixels;
    strided.options.stride = [2, 2];
    for case in [case([2, 18, 9, 11], 20, 1), case([1, 3, 9, 9], 5, 1), pixels, strided] {
        for has_residual in [false, true] {
            let actual = with_relu(&case, has_residual, true);
            let expected = with_relu(&case, has_residual, false);
            assert_eq!(actual.len(), expected.len());
            assert!(actual[0].contains(&0.0));
            for (actual, expected) in actual.iter().zip(expected) {
                let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
                assert_close(&format!("{case:?}"), actual, &expected, 2e-6);
            }
        }
    }
}

#[test]
fn relu_in_the_same_pass_without_gradients() {
    let case = case([2, 18, 9, 11], 20, 1);
    let x = tensor(&numbers(case.x.iter().product(), 1), case.x, &device());
    let weight = tensor(&numbers(case.weight.iter().product(), 2), case.weight, &device());
    let bias = tensor(&numbers(20, 3), [20], &device());
    let residual = tensor(&numbers(2 * 20 * 99, 5), case.output(), &device());
    let plain = conv2d(x.clone(), weight.clone(), Some(bias.clone()), &case.options);
    let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let expected = double(values(composed::add_relu(plain, residual.clone())));
    let actual = values(conv2d_bias_add_relu(x, weight, bias, residual, &case.options));
    assert_close("output", &actual, &expected, 1e-6);
}

#[test]
#[should_panic(expected = "residual")]
fn refuses_a_residual_of_another_shape() {
    let zeros = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device());
    let bias = Tensor::zeros([4], &device());
    let options = ConvOptions::default();
    conv2d_bias_add_relu(
        zeros([1, 3, 5, 5]),
        zeros([4, 3, 3, 3]),
        bias,
        zeros([1, 4, 5, 5]),
        &options,
    );
}
