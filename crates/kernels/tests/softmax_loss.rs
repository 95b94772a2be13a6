//! The fused softmax loss beside the composed one, slow loops and limits.

mod reference;

use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_kernels::{RandomMask, SeesawShift, Shift, SoftmaxTerms, composed, softmax_loss};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{assert_same_bits_with_threads, numbers, tensor};

fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    tensor(&values, [values.len()], device)
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    tensor(&values, shape, device)
}

fn labels(labels: Vec<i64>) -> Tensor<1, Int> {
    let count = labels.len();
    Tensor::from_data(TensorData::new(labels, [count]), &device())
}

/// In `0..num_labels`, each as often as any other.
fn some_labels(rows: usize, num_labels: usize) -> Vec<i64> {
    (0..rows).map(|row| (row * 7 % num_labels) as i64).collect()
}

struct Outcome {
    losses: Vec<f32>,
    gradient: Vec<f32>,
}

type Loss = fn(Tensor<2>, Tensor<1, Int>, SoftmaxTerms) -> Tensor<1>;

/// With a different factor of every row's loss after the kernel.
fn outcome(logits: &Tensor<2>, labels: &[i64], terms: &SoftmaxTerms, loss: Loss) -> Outcome {
    let logits = logits.clone().autodiff().require_grad();
    let losses = loss(logits.clone(), self::labels(labels.to_vec()), terms.clone());
    let [rows] = losses.dims();
    let factors = vector((0..rows).map(|row| 0.25 + row as f32).collect(), &device());
    let gradients = (losses.clone() * factors.autodiff()).sum().backward();
    Outcome {
        losses: values(losses),
        gradient: values(logits.grad(&gradients).expect("the logits are tracked")),
    }
}

/// Each loss within 1e-6 of itself and some roundings of the largest logit inside the softmax;
/// gradients within 1e-5 of the largest.
fn assert_forms_agree(name: &str, logits: &Tensor<2>, labels: &[i64], terms: &SoftmaxTerms) {
    let fused = outcome(logits, labels, terms, softmax_loss);
    let composed = outcome(logits, labels, terms, composed::softmax_loss);
    let size = values(logits.clone()).into_iter().fold(1.0_f32, |size, v| size.max(v.abs()));
    let weight = match &terms.row_weights {
        None => 1.0,
        Some(weights) => values(weights.clone()).into_iter().fold(0.0, f32::max),
    };
    let rounding = 8.0 * f32::EPSILON * size * terms.scale * weight * terms.factor;
    for (row, (actual, expected)) in fused.losses.iter().zip(&composed.losses).enumerate() {
        let error = (actual - expected).abs();
        let tolerance = 1e-6 * expected.abs() + rounding;
        assert!(error <= tolerance, "{name}, row {row}: {actual} for {expected}");
    }
    let expected: Vec<f64> = composed.gradient.iter().map(|&slope| f64::from(slope)).collect();
    assert_close(name, &fused.gradient, &expected, 1e-5);
    // The loss is the same without a gradient.
    let plain = softmax_loss(logits.clone(), self::labels(labels.to_vec()), terms.clone());
    assert_eq!(values(plain), fused.losses, "{name}");
}

fn random_mask(columns: usize, probability: f64) -> RandomMask {
    let tail = (0..columns).map(|column| f32::from(column % 3 != 0)).collect();
    RandomMask { columns: vector(tail, &device()), probability, seed: 5, draw: 3 }
}

fn seesaw(columns: usize) -> SeesawShift {
    let counts = (0..columns).map(|column| (1.0 + (column * column) as f32).ln()).collect();
    let log_counts = vector(counts, &device());
    SeesawShift { log_counts, p: 0.8, q: 2.0, log_epsilon: 0.01_f32.ln() }
}

fn shifts(rows: usize, columns: usize) -> Vec<(&'static str, Option<Shift>)> {
    vec![
        ("none", None),
        ("per column", Some(Shift::PerColumn(vector(numbers(columns, 3), &device())))),
        (
            "per entry",
            Some(Shift::PerEntry(matrix(numbers(rows * columns, 4), [rows, columns], &device()))),
        ),
        ("random", Some(Shift::Random(random_mask(columns, 0.6)))),
        ("seesaw", Some(Shift::Seesaw(seesaw(columns)))),
    ]
}

/// Every remainder of vectors; elsewhere a few, since kernels are compiled for each power of two.
fn widths() -> Vec<usize> {
    if is_flex() {
        (1..=40).chain([1023, 1024, 1025, 1203, 2051]).collect()
    } else {
        vec![1, 40, 255, 1203]
    }
}

#[test]
fn every_term_at_many_widths() {
    let rows = 7;
    for columns in widths() {
        for objectness in [false, true] {
            let width = columns + if objectness { 2 } else { 0 };
            let entries = numbers(rows * width, columns as u64).into_iter().map(|v| 6.0 * v);
            let logits = matrix(entries.collect(), [rows, width], &device());
            let labels = some_labels(rows, columns + usize::from(objectness));
            let row_weights =
                (0..rows).map(|row| if row % 4 == 3 { 0.0 } else { 0.5 + row as f32 });
            for (name, shift) in shifts(rows, columns) {
                let name = format!("{name}, {columns} columns, objectness {objectness}");
                let plain = SoftmaxTerms { shift: shift.clone(), objectness, ..Default::default() };
                assert_forms_agree(&name, &logits, &labels, &plain);
                let terms = SoftmaxTerms {
                    shift,
                    margin: Some(vector(numbers(columns, 8), &device())),
                    scale: 3.0,
                    objectness,
                    row_weights: Some(vector(row_weights.clone().collect(), &device())),
                    factor: 0.125,
                };
                assert_forms_agree(&name, &logits, &labels, &terms);
            }
        }
    }
}

/// Losses and gradients of the sum, in double precision.
fn slow_loop(
    logits: &[f32],
    num_columns: usize,
    labels: &[i64],
    shift: impl Fn(usize, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut losses, mut gradient) = (Vec::new(), Vec::new());
    for (row, logits) in logits.chunks(num_columns).enumerate() {
        let label = labels[row] as usize;
        let shifted: Vec<f64> =
            logits.iter().enumerate().map(|(j, &z)| f64::from(z) + shift(row, j)).collect();
        let largest = shifted.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = shifted.iter().map(|a| (a - largest).exp()).sum();
        losses.push(sum.ln() + largest - shifted[label]);
        for (j, a) in shifted.iter().enumerate() {
            gradient.push((a - largest).exp() / sum - if j == label { 1.0 } else { 0.0 });
        }
    }
    (losses, gradient)
}

#[test]
fn seesaw_and_random_masks_match_slow_loops() {
    let [rows, columns] = [6, 21];
    let entries: Vec<f32> = numbers(rows * columns, 2).into_iter().map(|v| 4.0 * v).collect();
    let labels = some_labels(rows, columns);
    let scores: Vec<Vec<f64>> = entries
        .chunks(columns)
        .map(|row| {
            let exps: Vec<f64> = row.iter().map(|&z| f64::from(z).exp()).collect();
            let sum: f64 = exps.iter().sum();
            exps.into_iter().map(|e| e / sum).collect()
        })
        .collect();
    let factor = |row: usize, j: usize| {
        let label = labels[row] as usize;
        let count = |j: usize| 1.0 + (j * j) as f64;
        let mitigation = (count(j) / count(label)).min(1.0).powf(0.8);
        let ratio = scores[row][j] / scores[row][label].max(0.01);
        if j == label { 0.0 } else { (mitigation * ratio.max(1.0).powi(2)).ln() }
    };
    let mask = random_mask(columns, 0.6);
    let masked = |row: usize, j: usize| {
        let is_left_out = !j.is_multiple_of(3) && j as i64 != labels[row] && mask.is_drawn(row, j);
        if is_left_out { f64::NEG_INFINITY } else { 0.0 }
    };
    let cases = [
        (Shift::Seesaw(seesaw(columns)), slow_loop(&entries, columns, &labels, factor)),
        (Shift::Random(mask.clone()), slow_loop(&entries, columns, &labels, masked)),
    ];
    for (shift, (losses, gradient)) in cases {
        for loss in [softmax_loss, composed::softmax_loss] {
            let device = device().autodiff();
            let logits = matrix(entries.clone(), [rows, columns], &device).require_grad();
            let terms = SoftmaxTerms { shift: Some(shift.clone()), ..Default::default() };
            let found = loss(logits.clone(), self::labels(labels.clone()), terms);
            let gradients = found.clone().sum().backward();
            assert_close("losses", &values(found), &losses, 2e-6);
            assert_close(
                "gradient",
                &values(logits.grad(&gradients).expect("the logits are tracked")),
                &gradient,
                2e-6,
            );
        }
    }
}

#[test]
fn draws_are_fair_and_differ() {
    let mask = random_mask(64, 0.3);
    let count = |mask: &RandomMask| {
        (0..64_000).filter(|i| mask.is_drawn(i / 64, i % 64)).count() as f64 / 64_000.0
    };
    assert!((count(&mask) - 0.3).abs() < 0.01, "{}", count(&mask)); // deviation 0.0018
    let agreement = |other: &RandomMask| {
        let is_same = |i: &usize| mask.is_drawn(i / 64, i % 64) == other.is_drawn(i / 64, i % 64);
        (0..64_000).filter(is_same).count() as f64 / 64_000.0
    };
    // Independent draws agree with probability 0.3^2 + 0.7^2.
    for other in [RandomMask { seed: 6, ..mask.clone() }, RandomMask { draw: 4, ..mask.clone() }] {
        assert!((agreement(&other) - 0.58).abs() < 0.01, "{}", agreement(&other));
    }
    // Neighbouring rows and columns too.
    for (down, right) in [(1, 0), (0, 1), (1, 1), (2, 0), (0, 8)] {
        let is_same = |i: &usize| {
            let (row, column) = (i / 64, i % 64);
            mask.is_drawn(row, column) == mask.is_drawn(row + down, column + right)
        };
        let share = (0..64_000).filter(is_same).count() as f64 / 64_000.0;
        assert!((share - 0.58).abs() < 0.01, "{down} {right}: {share}");
    }
    for (probability, expected) in [(0.0, 0.0), (1.0, 1.0)] {
        assert_eq!(count(&RandomMask { probability, ..mask.clone() }), expected);
    }
}

#[test]
fn huge_logits_and_small_ones() {
    for size in [1e-6, 20.0, 90.0, 1e4, 1e6] {
        let logits = matrix(numbers(48, 9), [4, 12], &device()).sign() * size;
        for (name, shift) in shifts(4, 12) {
            let terms = SoftmaxTerms { shift, ..Default::default() };
            assert_forms_agree(&format!("{name}, {size}"), &logits, &some_labels(4, 12), &terms);
        }
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row() {
    let mut entries = numbers(36, 5);
    entries[9 + 4] = f32::NAN;
    entries[18 + 8] = f32::INFINITY;
    entries[27] = f32::NEG_INFINITY; // left out
    let labels = [3, 0, 1, 1];
    let logits = matrix(entries, [4, 9], &device());
    let losses = |loss: Loss| {
        values(loss(logits.clone(), self::labels(labels.to_vec()), SoftmaxTerms::default()))
    };
    let (fused, composed) = (losses(softmax_loss), losses(composed::softmax_loss));
    for row in [1, 2] {
        assert!(!fused[row].is_finite() && !composed[row].is_finite(), "{fused:?} {composed:?}");
    }
    for row in [0, 3] {
        assert!((fused[row] - composed[row]).abs() <= 1e-6 * composed[row]);
    }
    // A row of weight 0 may hold anything.
    let row_weights = Some(vector(vec![1.0, 0.0, 0.0, 1.0], &device()));
    let terms = SoftmaxTerms { row_weights, ..Default::default() };
    for loss in [softmax_loss, composed::softmax_loss] {
        let Outcome { losses, gradient } = outcome(&logits, &labels, &terms, loss);
        assert_eq!(losses[1..3], [0.0, 0.0]);
        assert!(gradient[9..27].iter().all(|&slope| slope == 0.0), "{gradient:?}");
        assert!(gradient.iter().all(|slope| slope.is_finite()));
    }
}

#[test]
fn labels_of_any_type_and_logits_of_any_layout() {
    let [rows, columns] = [5, 11];
    let terms = SoftmaxTerms { shift: Some(Shift::Seesaw(seesaw(columns))), ..Default::default() };
    let logits = matrix(numbers(55, 8), [rows, columns], &device());
    let classes = some_labels(rows, columns);
    let expected = outcome(&logits, &classes, &terms, softmax_loss);
    let short: Vec<i32> = classes.iter().map(|&label| label as i32).collect();
    let short = Tensor::<1, Int>::from_data(TensorData::new(short, [rows]), &device());
    assert_eq!(values(softmax_loss(logits.clone(), short, terms.clone())), expected.losses);
    // Columns of a wider tensor, and rows that were columns.
    let wider = Tensor::cat(vec![logits.clone(), logits.clone()], 1).narrow(1, 11, 11);
    let turned = logits.transpose().reshape([11, 5]).transpose();
    for logits in [wider, turned] {
        let found = outcome(&logits, &classes, &terms, softmax_loss);
        if is_flex() {
            assert_eq!((&found.losses, &found.gradient), (&expected.losses, &expected.gradient));
        }
        let double = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        assert_close("losses", &found.losses, &double(&expected.losses), 1e-6);
        assert_close("gradient", &found.gradient, &double(&expected.gradient), 1e-6);
    }
}

#[test]
fn a_label_that_is_no_column_makes_its_row_no_number() {
    if !is_flex() {
        return; // what a gather does then is the backend's own
    }
    let logits = matrix(numbers(4 * 9, 5), [4, 9], &device());
    let terms = SoftmaxTerms {
        row_weights: Some(vector(vec![1.0, 2.0, 0.0, 0.5], &device())),
        ..Default::default()
    };
    let Outcome { losses, gradient } = outcome(&logits, &[3, 9, 9, 8], &terms, softmax_loss);
    for row in 0..4 {
        let of_row = &gradient[9 * row..9 * (row + 1)];
        assert_eq!(losses[row].is_nan(), row == 1, "{losses:?}");
        assert_eq!(of_row.iter().all(|slope| slope.is_nan()), row == 1, "{of_row:?}");
        assert_eq!(of_row.iter().any(|slope| slope.is_nan()), row == 1, "{of_row:?}");
    }
}

#[test]
fn no_rows() {
    let logits = Tensor::<2>::zeros([0, 4], &device().autodiff()).require_grad();
    let losses = softmax_loss(logits.clone(), labels(Vec::new()), SoftmaxTerms::default());
    assert_eq!(losses.dims(), [0]);
    let gradients = losses.sum().backward();
    assert_eq!(logits.grad(&gradients).expect("the logits are tracked").dims(), [0, 4]);
}

#[test]
#[should_panic(expected = "objectness needs two columns")]
fn one_column_has_no_objectness() {
    let terms = SoftmaxTerms { objectness: true, ..Default::default() };
    softmax_loss(Tensor::zeros([2, 1], &device()), labels(vec![0, 0]), terms);
}

/// Losses and gradient of a case of several blocks.
fn all_bits() -> Vec<u8> {
    let shape = [150, 1203];
    let logits = matrix(numbers(150 * 1203, 1), shape, &device().autodiff()).require_grad();
    let terms = SoftmaxTerms { shift: Some(Shift::Seesaw(seesaw(1203))), ..Default::default() };
    let losses = softmax_loss(logits.clone(), labels(some_labels(150, 1203)), terms);
    let gradients = (losses.clone() * 3.0).sum().backward();
    let gradient = logits.grad(&gradients).expect("the logits are tracked");
    [values(losses), values(gradient)].concat().into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Runs itself in processes of one and of three threads, which write the bits to a file.
#[test]
fn bits_do_not_depend_on_threads() {
    if !is_flex() {
        return;
    }
    assert_same_bits_with_threads("softmax_loss", 4 * 150 * 1203, all_bits);
}

/// Runs tests above once more in a process limited to another instruction set.
#[test]
fn without_vector_instructions() {
    if !is_flex() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "every_term_at_many_widths",
            "seesaw_and_random_masks",
            "huge_logits_and_small_ones",
        ])
        .env("LONGTAIL_SIMD", "portable")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
