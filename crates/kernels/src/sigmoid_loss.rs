//! Sigmoid cross-entropy with class tables, a shift, a focal exponent and row weights.

#[cfg(any(feature = "flex", feature = "cube"))]
use burn::backend::Dispatch;
#[cfg(any(feature = "flex", feature = "cube", test))]
use burn::tensor::Int;
use burn::tensor::{Tensor, assert_shape};

#[cfg(any(feature = "flex", feature = "cube"))]
use crate::{
    DrawUnit, form,
    loss_backend::{DrawConfig, LossBackend, SigmoidConfig, inputs},
};
use crate::{Labels, SigmoidTerms, composed};

/// What [`sigmoid_loss_with_sums`] returns.
#[derive(Debug, Clone)]
pub struct SigmoidLossOutput {
    /// Loss of each row, `[rows]`.
    pub losses: Tensor<1>,
    /// Sum over the rows of the absolute gradients of positive entries, `[columns]`.
    pub positive_sums: Tensor<1>,
    /// Sum over the rows of the absolute gradients of negative entries, `[columns]`.
    pub negative_sums: Tensor<1>,
}

/// Loss of each row, summed over its columns:
/// `c v_r sum_j w_rj (1 - p_t)^gamma_j (-ln p_t)`.
///
/// `p_t = sigmoid(a)` at positives and `1 - sigmoid(a)` at negatives, with
/// `a_rj = logit_rj + shift_j`; `w` is the positive or the negative weight, `v` the row weight, `c`
/// the factor. Without focal exponent the gradient with respect to a logit is
/// `c v_r w_rj (sigmoid(a_rj) - y_rj)`. Finite for any finite logit; reads nothing back to the host.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]`, or `[rows, columns]` of 0 and 1
/// - output: `[rows]`
///
/// # Panics
/// If the shapes disagree.
pub fn sigmoid_loss(logits: Tensor<2>, labels: Labels, terms: SigmoidTerms) -> Tensor<1> {
    check_shapes(&logits, &labels, &terms);
    #[cfg(any(feature = "flex", feature = "cube"))]
    if form::is_fused_on(&logits) {
        return fused(logits, labels, terms, false).0;
    }
    composed::sigmoid_loss(logits, labels, terms)
}

/// As [`sigmoid_loss`], and the sums of the absolute gradients of each column,
/// `sum_r |d loss_rj / d logit_rj|` without row weight and factor, over the rows whose weight is not
/// 0. The sums carry no gradient.
///
/// # Shapes
/// As in [`sigmoid_loss`].
///
/// # Panics
/// If the shapes disagree.
pub fn sigmoid_loss_with_sums(
    logits: Tensor<2>,
    labels: Labels,
    terms: SigmoidTerms,
) -> SigmoidLossOutput {
    check_shapes(&logits, &labels, &terms);
    #[cfg(any(feature = "flex", feature = "cube"))]
    if form::is_fused_on(&logits) {
        let (losses, sums) = fused(logits, labels, terms, true);
        let row = |index| sums.clone().narrow(0, index, 1).squeeze_dim::<1>(0);
        return SigmoidLossOutput { losses, positive_sums: row(0), negative_sums: row(1) };
    }
    composed::sigmoid_loss_with_sums(logits, labels, terms)
}

/// Number of entries by the size of their error `1 - p_t`, which is the absolute gradient of plain
/// sigmoid cross-entropy: bin `b` of `n` holds `b / n <= 1 - p_t < (b + 1) / n`, the last bin 1 too.
/// Rows of weight 0 are left out. The counts carry no gradient.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]`, or `[rows, columns]` of 0 and 1
/// - row_weights: `[rows]`
/// - output: `[num_bins]`
///
/// # Panics
/// If the shapes disagree, or without a bin.
pub fn sigmoid_error_counts(
    logits: Tensor<2>,
    labels: Labels,
    row_weights: Option<Tensor<1>>,
    num_bins: usize,
) -> Tensor<1> {
    assert!(num_bins > 0, "at least one bin");
    let logits = logits.without_autodiff();
    let terms = SigmoidTerms { row_weights, ..Default::default() };
    check_shapes(&logits, &labels, &terms);
    #[cfg(any(feature = "flex", feature = "cube"))]
    if form::is_fused_on(&logits) {
        let config = SigmoidConfig { num_bins, ..config(&terms, &labels) };
        let (labels, entries) = split(labels);
        let inputs = inputs(labels, &[], entries, terms.row_weights, &logits.device());
        let counts =
            <Dispatch as LossBackend>::sigmoid_error_counts(logits.into_dispatch(), inputs, config);
        return Tensor::from_dispatch(counts);
    }
    composed::sigmoid_error_counts(logits, labels.without_autodiff(), terms.row_weights, num_bins)
}

fn check_shapes(logits: &Tensor<2>, labels: &Labels, terms: &SigmoidTerms) {
    let [num_rows, num_columns] = logits.dims();
    match labels {
        Labels::Classes(labels) => assert_shape!(labels, [num_rows]),
        Labels::MultiLabel(targets) => assert_shape!(targets, [num_rows, num_columns]),
    }
    let tables =
        [&terms.shift, &terms.positive_weights, &terms.negative_weights, &terms.focal_gamma];
    for table in tables.into_iter().flatten() {
        assert_shape!(table, [num_columns]);
    }
    if let Some(weights) = &terms.row_weights {
        assert_shape!(weights, [num_rows]);
    }
    if let Some(draw) = &terms.background_draw {
        assert_shape!(draw.probabilities, [num_columns]);
    }
    if let Some(weights) = &terms.error_weights {
        assert!(weights.dims()[0] > 0, "error_weights needs at least one value");
    }
}

#[cfg(any(feature = "flex", feature = "cube"))]
fn config(terms: &SigmoidTerms, labels: &Labels) -> SigmoidConfig {
    SigmoidConfig {
        shift: terms.shift.is_some().then_some(terms.shift_rows),
        has_positive_weights: terms.positive_weights.is_some(),
        negative_weights: terms.negative_weights.is_some().then_some(terms.negative_weight_rows),
        has_gamma: terms.focal_gamma.is_some(),
        draw: terms
            .background_draw
            .as_ref()
            .map(|draw| DrawConfig { key: draw.key(), is_by_row: draw.unit == DrawUnit::Row }),
        threshold: terms.foreground_threshold,
        num_bins: terms.error_weights.as_ref().map_or(0, |weights| weights.dims()[0]),
        has_background_column: terms.has_background_column,
        is_multi_label: matches!(labels, Labels::MultiLabel(_)),
        has_row_weights: terms.row_weights.is_some(),
        factor: terms.factor,
        has_sums: false,
        is_tracked: false,
    }
}

#[cfg(any(feature = "flex", feature = "cube"))]
fn fused(
    logits: Tensor<2>,
    labels: Labels,
    terms: SigmoidTerms,
    has_sums: bool,
) -> (Tensor<1>, Tensor<2>) {
    let config = SigmoidConfig { has_sums, ..config(&terms, &labels) };
    let probabilities = terms.background_draw.map(|draw| draw.probabilities);
    let tables = [
        terms.shift,
        terms.positive_weights,
        terms.negative_weights,
        terms.focal_gamma,
        probabilities,
    ];
    let (labels, entries) = split(labels);
    let mut inputs = inputs(labels, &tables, entries, terms.row_weights, &logits.device());
    if let Some(weights) = terms.error_weights {
        inputs.bins = weights.without_autodiff().into_dispatch();
    }
    let (losses, sums, _) =
        <Dispatch as LossBackend>::fused_sigmoid_loss(logits.into_dispatch(), inputs, config);
    (Tensor::from_dispatch(losses), Tensor::from_dispatch(sums))
}

/// Class labels or targets.
#[cfg(any(feature = "flex", feature = "cube"))]
fn split(labels: Labels) -> (Option<Tensor<1, Int>>, Option<Tensor<2>>) {
    match labels {
        Labels::Classes(labels) => (Some(labels), None),
        Labels::MultiLabel(targets) => (None, Some(targets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowSet;
    use longtail_testing::{assert_close, device, values};

    const LOGITS: [[f64; 2]; 3] = [[0.5, -1.0], [0.0, 3.0], [-2.0, 0.25]];
    const TARGETS: [[f64; 2]; 3] = [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]; // row 1 is background
    const SHIFT: [f64; 2] = [-1.0, 0.5];
    const POSITIVE: [f64; 2] = [2.0, 0.25];
    const NEGATIVE: [f64; 2] = [0.0, 0.75];
    const GAMMA: [f64; 2] = [1.5, 0.0];
    const WEIGHTS: [f64; 3] = [0.5, 3.0, 1.0];

    fn slow_loop(logits: [[f64; 2]; 3], rows: RowSet) -> [f64; 3] {
        let mut losses = [0.0; 3];
        for row in 0..3 {
            let counts = rows == RowSet::All || row != 1;
            for j in 0..2 {
                let logit = logits[row][j] + if counts { SHIFT[j] } else { 0.0 };
                let score = 1.0 / (1.0 + (-logit).exp());
                let (right, weight) = if TARGETS[row][j] == 1.0 {
                    (score, POSITIVE[j])
                } else {
                    (1.0 - score, if counts { NEGATIVE[j] } else { 1.0 })
                };
                losses[row] += WEIGHTS[row] * weight * (1.0 - right).powf(GAMMA[j]) * -right.ln();
            }
        }
        losses
    }

    #[test]
    fn every_term_matches_a_slow_loop() {
        let device = device().autodiff();
        let vector = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::<1>::from_floats(values.as_slice(), &device)
        };
        let matrix = |rows: [[f64; 2]; 3]| {
            Tensor::<2>::from_floats(rows.map(|row| row.map(|v| v as f32)), &device)
        };
        for rows in [RowSet::All, RowSet::Foreground] {
            let expected = slow_loop(LOGITS, rows);
            let mut expected_gradient = Vec::new();
            for (row, j) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
                let at = |step: f64| {
                    let mut moved = LOGITS;
                    moved[row][j] += step;
                    slow_loop(moved, rows)[row]
                };
                expected_gradient.push((at(1e-5) - at(-1e-5)) / 2e-5);
            }
            let classes = Tensor::<1, Int>::from_ints([1, 2, 0], &device);
            for labels in [Labels::Classes(classes), Labels::MultiLabel(matrix(TARGETS))] {
                let logits = matrix(LOGITS).require_grad();
                let terms = SigmoidTerms {
                    shift: Some(vector(&SHIFT)),
                    shift_rows: rows,
                    positive_weights: Some(vector(&POSITIVE)),
                    negative_weights: Some(vector(&NEGATIVE)),
                    negative_weight_rows: rows,
                    focal_gamma: Some(vector(&GAMMA)),
                    row_weights: Some(vector(&WEIGHTS)),
                    ..Default::default()
                };
                let loss = sigmoid_loss(logits.clone(), labels, terms);
                let gradients = loss.clone().sum().backward();
                let gradient = values(logits.grad(&gradients).unwrap());
                assert_close("losses", &values(loss), &expected, 1e-6);
                assert_close("gradient", &gradient, &expected_gradient, 1e-6);
            }
        }
    }
}
