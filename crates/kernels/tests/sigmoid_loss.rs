//! The fused sigmoid loss beside the composed one and beside limits.

mod reference;

use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_kernels::{
    BackgroundDraw, DrawUnit, Labels, RowSet, SigmoidTerms, composed, sigmoid_error_counts,
    sigmoid_loss, sigmoid_loss_with_sums,
};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{assert_same_bits_with_threads, numbers, tensor};

fn vector(values: Vec<f32>, device: &Device) -> Tensor<1> {
    tensor(&values, [values.len()], device)
}

fn matrix(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    tensor(&values, shape, device)
}

/// Positive numbers up to `scale`.
fn table(columns: usize, seed: u64, scale: f32) -> Tensor<1> {
    let values = numbers(columns, seed).into_iter().map(|v| (v + 1.0) / 2.0 * scale).collect();
    vector(values, &device())
}

/// Every third row is background.
fn classes([rows, columns]: [usize; 2]) -> Vec<i64> {
    let label = |row: usize| if row % 3 == 2 { columns } else { row * 7 % columns };
    (0..rows).map(|row| label(row) as i64).collect()
}

fn class_labels(shape: [usize; 2]) -> Labels {
    let labels = classes(shape);
    let count = labels.len();
    let data = TensorData::new(labels, [count]);
    Labels::Classes(Tensor::<1, Int>::from_data(data, &device()))
}

/// Every fifth entry is positive; some rows have none.
fn multi_label([rows, columns]: [usize; 2]) -> Labels {
    let target = |entry: usize| {
        let (row, column) = (entry / columns, entry % columns);
        f32::from(row % 4 != 1 && (row + column) % 5 == 0)
    };
    Labels::MultiLabel(matrix(
        (0..rows * columns).map(target).collect(),
        [rows, columns],
        &device(),
    ))
}

struct Outcome {
    losses: Vec<f32>,
    gradient: Vec<f32>,
}

/// With a different factor of every row's loss after the kernel.
fn outcome(
    logits: &Tensor<2>,
    labels: &Labels,
    terms: &SigmoidTerms,
    loss: impl Fn(Tensor<2>, Labels, SigmoidTerms) -> Tensor<1>,
) -> Outcome {
    let logits = logits.clone().autodiff().require_grad();
    let losses = loss(logits.clone(), labels.clone(), terms.clone());
    let [rows] = losses.dims();
    let factors = vector((0..rows).map(|row| 0.25 + row as f32).collect(), &device());
    let gradients = (losses.clone() * factors.autodiff()).sum().backward();
    Outcome {
        losses: values(losses),
        gradient: values(logits.grad(&gradients).expect("the logits are tracked")),
    }
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Each loss within 1e-6 of itself and some roundings of the largest; gradients within 1e-5 of the
/// largest.
fn assert_agree(name: &str, actual: &Outcome, expected: &Outcome) {
    let largest = expected.losses.iter().fold(0.0_f32, |largest, loss| largest.max(loss.abs()));
    // The composed loss takes the logarithm of 1 + x, of which a GPU's driver has its own idea: on a
    // software driver it is 2e-6 away from double precision, the fused one 2e-7.
    let relative = if is_flex() { 1e-6 } else { 4e-6 };
    for (row, (actual, expected)) in actual.losses.iter().zip(&expected.losses).enumerate() {
        let tolerance = relative * expected.abs() + 4.0 * f32::EPSILON * largest;
        let error = (actual - expected).abs();
        assert!(error <= tolerance, "{name}, row {row}: {actual} for {expected}");
    }
    assert_close(name, &actual.gradient, &f64s(&expected.gradient), 1e-5);
}

fn assert_forms_agree(name: &str, logits: &Tensor<2>, labels: &Labels, terms: &SigmoidTerms) {
    let fused = outcome(logits, labels, terms, sigmoid_loss);
    let composed = outcome(logits, labels, terms, composed::sigmoid_loss);
    assert_agree(name, &fused, &composed);
    // The loss is the same without a gradient.
    let plain = sigmoid_loss(logits.clone(), labels.clone(), terms.clone());
    assert_eq!(values(plain), fused.losses, "{name}");
}

fn all_terms([rows, columns]: [usize; 2], on: RowSet) -> SigmoidTerms {
    let row_weights = (0..rows).map(|row| if row % 4 == 3 { 0.0 } else { 0.5 + row as f32 });
    SigmoidTerms {
        shift: Some(vector(numbers(columns, 3), &device())),
        shift_rows: on,
        positive_weights: Some(table(columns, 4, 3.0)),
        negative_weights: Some(table(columns, 5, 2.0)),
        negative_weight_rows: on,
        focal_gamma: Some(table(columns, 6, 3.0)),
        row_weights: Some(vector(row_weights.collect(), &device())),
        factor: 0.125,
        ..Default::default()
    }
}

/// A table of probabilities, 0 and 1 among them.
fn background_draw(columns: usize, unit: DrawUnit) -> BackgroundDraw {
    let probability = |column: usize| (column % 5) as f32 / 4.0;
    let probabilities = vector((0..columns).map(probability).collect(), &device());
    BackgroundDraw { probabilities, unit, seed: 3, draw: 8 }
}

/// The terms that weigh negatives row by row, and the weights by the size of the error.
fn rules([rows, columns]: [usize; 2]) -> Vec<(&'static str, SigmoidTerms)> {
    let all = all_terms([rows, columns], RowSet::Foreground);
    let mut cases = Vec::new();
    for has_background_column in [false, true] {
        for unit in [DrawUnit::Entry, DrawUnit::Row] {
            let background_draw = Some(background_draw(columns, unit));
            let terms = SigmoidTerms { has_background_column, background_draw, ..all.clone() };
            cases.push(("draw", terms));
        }
        let foreground_threshold = Some(0.3);
        let terms = SigmoidTerms { has_background_column, foreground_threshold, ..all.clone() };
        let draw = Some(background_draw(columns, DrawUnit::Row));
        cases.push(("threshold", terms.clone()));
        cases.push((
            "threshold and draw",
            SigmoidTerms { background_draw: draw, focal_gamma: None, ..terms },
        ));
        let error_weights = Some(table(7, 12, 2.0));
        cases.push(("bins", SigmoidTerms { has_background_column, error_weights, ..all.clone() }));
    }
    cases
}

/// Every remainder of vectors; elsewhere a few, since kernels are compiled for each power of two.
fn widths() -> Vec<usize> {
    if is_flex() { (1..=40).chain([511, 512, 513, 1203]).collect() } else { vec![1, 40, 255, 1203] }
}

#[test]
fn every_term_at_many_widths() {
    for columns in widths() {
        let shape = [7, columns];
        let logits = numbers(7 * columns, columns as u64).into_iter().map(|v| 6.0 * v).collect();
        let logits = matrix(logits, shape, &device());
        for on in [RowSet::All, RowSet::Foreground] {
            let all = all_terms(shape, on);
            let cases = [
                ("nothing", SigmoidTerms::default()),
                (
                    "shift",
                    SigmoidTerms { shift: all.shift.clone(), shift_rows: on, ..Default::default() },
                ),
                (
                    "negatives",
                    SigmoidTerms {
                        negative_weights: all.negative_weights.clone(),
                        negative_weight_rows: on,
                        ..Default::default()
                    },
                ),
                (
                    "square",
                    SigmoidTerms {
                        focal_gamma: Some(Tensor::full([columns], 2.0, &device())),
                        ..all.clone()
                    },
                ),
                ("all", all),
            ];
            for labels in [class_labels(shape), multi_label(shape)] {
                for (name, terms) in &cases {
                    assert_forms_agree(&format!("{name}, {columns}"), &logits, &labels, terms);
                }
            }
        }
    }
}

#[test]
fn weights_by_row_and_by_error() {
    for columns in [1, 3, 8, 13, 40] {
        let shape = [7, columns];
        let logits = numbers(7 * columns, columns as u64).into_iter().map(|v| 4.0 * v).collect();
        let logits = matrix(logits, shape, &device());
        for labels in [class_labels(shape), multi_label(shape)] {
            for (name, terms) in rules(shape) {
                let name = format!("{name}, {columns}");
                assert_forms_agree(&name, &logits, &labels, &terms);
                let tracked = logits.clone().autodiff().require_grad();
                let fused = sigmoid_loss_with_sums(tracked.clone(), labels.clone(), terms.clone());
                let composed = composed::sigmoid_loss_with_sums(tracked, labels.clone(), terms);
                let expected = f64s(&values(composed.negative_sums));
                assert_close(&name, &values(fused.negative_sums), &expected, 2e-6);
                let expected = f64s(&values(composed.positive_sums));
                assert_close(&name, &values(fused.positive_sums), &expected, 2e-6);
            }
        }
    }
}

#[test]
fn background_negatives_follow_their_numbers() {
    let (rows, columns) = (60, 10);
    let labels: Vec<i64> = (0..rows as i64).map(|row| if row % 4 == 0 { 3 } else { 10 }).collect();
    let labels = Labels::Classes(Tensor::from_data(TensorData::new(labels, [rows]), &device()));
    let logits = Tensor::<2>::zeros([rows, columns], &device().autodiff()).require_grad();
    for unit in [DrawUnit::Entry, DrawUnit::Row] {
        let draw = background_draw(columns, unit);
        let terms = SigmoidTerms { background_draw: Some(draw.clone()), ..SigmoidTerms::default() };
        let loss = sigmoid_loss(logits.clone(), labels.clone(), terms).sum();
        let gradient = values(logits.grad(&loss.backward()).expect("the logits are tracked"));
        let mut num_kept = [0; 2];
        for (entry, slope) in gradient.into_iter().enumerate() {
            let (row, column) = (entry / columns, entry % columns);
            let is_kept = row % 4 == 0 || draw.number(row, column) < (column % 5) as f64 / 4.0;
            assert_eq!(slope != 0.0, is_kept, "{unit:?}, row {row}, column {column}");
            num_kept[usize::from(is_kept)] += 1;
        }
        assert!(num_kept[0] > 100 && num_kept[1] > 100, "{num_kept:?}");
    }
    // A row has one number, the next draw others.
    let draw = background_draw(columns, DrawUnit::Row);
    assert_eq!(draw.number(5, 0).to_bits(), draw.number(5, 9).to_bits());
    assert!(BackgroundDraw { draw: 9, ..draw.clone() }.number(5, 0) != draw.number(5, 0));
}

#[test]
fn counts_of_errors() {
    for shape in [[1, 1], [9, 13], [300, 40], [70, 1203]] {
        let [rows, columns] = shape;
        let raw: Vec<f32> = numbers(rows * columns, 11).into_iter().map(|v| 5.0 * v).collect();
        let logits = matrix(raw.clone(), shape, &device());
        let weights: Vec<f32> = (0..rows).map(|row| if row % 4 == 3 { 0.0 } else { 2.0 }).collect();
        for (is_multi_label, labels) in [(false, class_labels(shape)), (true, multi_label(shape))] {
            for num_bins in [1, 10, 30] {
                let mut expected = vec![0.0; num_bins];
                let classes = classes(shape);
                for (entry, &logit) in raw.iter().enumerate() {
                    let (row, column) = (entry / columns, entry % columns);
                    let is_positive = match is_multi_label {
                        true => row % 4 != 1 && (row + column) % 5 == 0,
                        false => classes[row] == column as i64,
                    };
                    let signed = if is_positive { -logit } else { logit };
                    let error = 1.0 / (1.0 + (-f64::from(signed)).exp());
                    if row % 4 != 3 {
                        expected[((error * num_bins as f64) as usize).min(num_bins - 1)] += 1.0;
                    }
                }
                let weights = Some(vector(weights.clone(), &device()));
                for count in [sigmoid_error_counts, composed::sigmoid_error_counts] {
                    let found = count(logits.clone(), labels.clone(), weights.clone(), num_bins);
                    let found = f64s(&values(found));
                    let differ = found.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 2.0);
                    let sums = [&found, &expected].map(|counts| counts.iter().sum::<f64>());
                    // Single precision may put an entry at a bound into the next bin.
                    assert!(!differ && sums[0] == sums[1], "{shape:?}: {found:?} {expected:?}");
                }
            }
        }
    }
    let counts = sigmoid_error_counts(
        Tensor::<2>::from_floats([[1e30, -1e30], [-1e4, 1e4]], &device()),
        Labels::Classes(Tensor::from_data([0_i64, 0], &device())),
        None,
        4,
    );
    assert_eq!(values(counts), [2.0, 0.0, 0.0, 2.0]);
    let empty = Labels::Classes(Tensor::zeros([0], &device()));
    let counts = sigmoid_error_counts(Tensor::zeros([0, 4], &device()), empty, None, 3);
    assert_eq!(values(counts), [0.0; 3]);
}

#[test]
fn sums_of_gradients() {
    for shape in [[1, 1], [9, 13], [300, 40], [150, 1203]] {
        let [rows, columns] = shape;
        let logits = matrix(numbers(rows * columns, 11), shape, &device()) * 3.0;
        for labels in [class_labels(shape), multi_label(shape)] {
            let focal = all_terms(shape, RowSet::Foreground);
            let plain = SigmoidTerms { focal_gamma: None, ..focal.clone() };
            for terms in [plain, focal] {
                let tracked = logits.clone().autodiff().require_grad();
                let fused = sigmoid_loss_with_sums(tracked.clone(), labels.clone(), terms.clone());
                let composed = composed::sigmoid_loss_with_sums(
                    tracked.clone(),
                    labels.clone(),
                    terms.clone(),
                );
                let name = format!("{shape:?}");
                let expected = f64s(&values(composed.positive_sums));
                assert_close(&name, &values(fused.positive_sums), &expected, 2e-6);
                let expected = f64s(&values(composed.negative_sums));
                assert_close(&name, &values(fused.negative_sums), &expected, 2e-6);
                let without_sums = sigmoid_loss(tracked, labels.clone(), terms);
                assert_eq!(values(fused.losses), values(without_sums));
            }
        }
    }
}

#[test]
fn sums_are_those_of_the_gradient() {
    let shape = [6, 10];
    let logits = matrix(numbers(60, 2), shape, &device().autodiff()).require_grad();
    let terms = SigmoidTerms { row_weights: None, factor: 1.0, ..all_terms(shape, RowSet::All) };
    let output = sigmoid_loss_with_sums(logits.clone(), class_labels(shape), terms);
    let gradients = output.losses.sum().backward();
    let gradient = values(logits.grad(&gradients).expect("the logits are tracked"));
    let labels = classes(shape);
    let (mut positive, mut negative) = (vec![0.0; 10], vec![0.0; 10]);
    for (entry, slope) in gradient.into_iter().enumerate() {
        let (row, column) = (entry / 10, entry % 10);
        let is_positive = labels[row] == column as i64;
        let sums = if is_positive { &mut positive } else { &mut negative };
        sums[column] += f64::from(slope.abs());
    }
    assert_close("positive", &values(output.positive_sums), &positive, 1e-6);
    assert_close("negative", &values(output.negative_sums), &negative, 1e-6);
}

#[test]
fn huge_logits_and_small_ones() {
    let shape = [4, 12];
    for size in [1e-6, 20.0, 90.0, 100.0, 1e4, 1e30] {
        let logits = matrix(numbers(48, 9), shape, &device()).sign() * size;
        for (name, terms) in [
            ("plain", SigmoidTerms::default()),
            (
                "focal",
                SigmoidTerms {
                    focal_gamma: Some(Tensor::full([12], 2.0, &device())),
                    ..Default::default()
                },
            ),
            ("table", SigmoidTerms { focal_gamma: Some(table(12, 6, 3.0)), ..Default::default() }),
        ] {
            let name = format!("{name}, {size}");
            assert_forms_agree(&name, &logits, &class_labels(shape), &terms);
        }
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row() {
    let shape = [4, 9];
    let mut entries = numbers(36, 5);
    entries[9 + 4] = f32::NAN;
    entries[18 + 8] = f32::INFINITY; // a negative: infinite loss
    entries[27] = f32::NEG_INFINITY; // a negative: no loss
    let labels = Labels::Classes(Tensor::from_data([3_i64, 0, 1, 1], &device()));
    let logits = matrix(entries, shape, &device());
    let losses = |loss: fn(Tensor<2>, Labels, SigmoidTerms) -> Tensor<1>| {
        values(loss(logits.clone(), labels.clone(), SigmoidTerms::default()))
    };
    let (fused, composed) = (losses(sigmoid_loss), losses(composed::sigmoid_loss));
    assert!(fused[1].is_nan() && composed[1].is_nan(), "{fused:?} {composed:?}");
    if is_flex() {
        assert_eq!([fused[2], composed[2]], [f32::INFINITY; 2]);
    }
    assert!(!fused[2].is_finite() && !composed[2].is_finite(), "{fused:?} {composed:?}");
    for row in [0, 3] {
        assert!((fused[row] - composed[row]).abs() <= 1e-6 * composed[row]);
    }
    // A row of weight 0 may hold anything.
    let terms = SigmoidTerms {
        row_weights: Some(vector(vec![1.0, 0.0, 0.0, 1.0], &device())),
        ..Default::default()
    };
    for loss in [sigmoid_loss, composed::sigmoid_loss] {
        let Outcome { losses, gradient } = outcome(&logits, &labels, &terms, loss);
        assert_eq!(losses[1..3], [0.0, 0.0]);
        assert!(gradient[9..27].iter().all(|&slope| slope == 0.0), "{gradient:?}");
        assert!(gradient.iter().all(|slope| slope.is_finite()));
    }
}

#[test]
fn labels_of_any_type_and_logits_of_any_layout() {
    let shape = [5, 11];
    let terms = all_terms(shape, RowSet::Foreground);
    let logits = matrix(numbers(55, 8), shape, &device());
    let expected = outcome(&logits, &class_labels(shape), &terms, sigmoid_loss);
    let short: Vec<i32> = classes(shape).into_iter().map(|label| label as i32).collect();
    let short = Tensor::<1, Int>::from_data(TensorData::new(short, [5]), &device());
    let beyond = Tensor::<1, Int>::from_data([0, 7, 4000, 10, 6], &device());
    for labels in [short, beyond] {
        let found = outcome(&logits, &Labels::Classes(labels), &terms, sigmoid_loss);
        assert_eq!(
            (found.losses, found.gradient),
            (expected.losses.clone(), expected.gradient.clone())
        );
    }
    // Columns of a wider tensor, and rows that were columns.
    let wider = Tensor::cat(vec![logits.clone(), logits.clone()], 1).narrow(1, 11, 11);
    let turned = logits.clone().transpose().reshape([11, 5]).transpose();
    for logits in [wider, turned] {
        let found = outcome(&logits, &class_labels(shape), &terms, sigmoid_loss);
        assert_eq!(
            (found.losses, found.gradient),
            (expected.losses.clone(), expected.gradient.clone())
        );
    }
}

#[test]
fn no_rows() {
    let logits = Tensor::<2>::zeros([0, 4], &device().autodiff()).require_grad();
    let labels = Labels::Classes(Tensor::zeros([0], &device()));
    let output = sigmoid_loss_with_sums(logits.clone(), labels, SigmoidTerms::default());
    assert_eq!(output.losses.dims(), [0]);
    assert_eq!(values(output.negative_sums), [0.0; 4]);
    let gradients = output.losses.sum().backward();
    assert_eq!(logits.grad(&gradients).expect("the logits are tracked").dims(), [0, 4]);
}

#[test]
#[should_panic(expected = "axis")]
fn a_table_of_another_width_is_refused() {
    let terms = SigmoidTerms { focal_gamma: Some(table(3, 1, 1.0)), ..Default::default() };
    sigmoid_loss(Tensor::zeros([2, 4], &device()), class_labels([2, 4]), terms);
}

/// Losses, gradient and sums of a case of several blocks.
fn all_bits() -> Vec<u8> {
    let shape = [150, 1203];
    let logits = matrix(numbers(150 * 1203, 1), shape, &device().autodiff()).require_grad();
    let terms = all_terms(shape, RowSet::Foreground);
    let output = sigmoid_loss_with_sums(logits.clone(), class_labels(shape), terms);
    let gradients = (output.losses.clone() * 3.0).sum().backward();
    let gradient = logits.grad(&gradients).expect("the logits are tracked");
    [
        values(output.losses),
        values(gradient),
        values(output.positive_sums),
        values(output.negative_sums),
    ]
    .concat()
    .into_iter()
    .flat_map(f32::to_le_bytes)
    .collect()
}

/// Runs itself in processes of one and of three threads, which write the bits to a file.
#[test]
fn bits_do_not_depend_on_threads() {
    if !is_flex() {
        return;
    }
    assert_same_bits_with_threads("sigmoid_loss", 4 * 150 * 1203, all_bits);
}

/// Runs tests above once more in a process limited to another instruction set.
#[test]
fn without_vector_instructions() {
    if !is_flex() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["every_term_at_many_widths", "sums_of_gradients", "huge_logits_and_small_ones"])
        .args(["weights_by_row_and_by_error", "counts_of_errors"])
        .env("LONGTAIL_SIMD", "portable")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
