//! Sigmoid cross-entropy with class tables, a shift, a focal exponent and row weights.

use burn::tensor::{Int, Tensor, activation::log_sigmoid, assert_shape};

/// What each row should be.
#[derive(Debug, Clone)]
pub enum Labels {
    /// `[rows]`: the column that is 1. An index past the last column is a row without a positive:
    /// background.
    Classes(Tensor<1, Int>),
    /// `[rows, columns]`: each entry 0 or 1.
    MultiLabel(Tensor<2>),
}

/// The rows a term acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSet {
    /// Every row.
    All,
    /// Rows with at least one positive.
    Foreground,
}

/// What a method adds to plain sigmoid cross-entropy. The default adds nothing. All terms are
/// constants: no gradient flows into them.
#[derive(Debug, Clone)]
pub struct SigmoidTerms {
    /// `[columns]`: added to the logits of [`shift_rows`](Self::shift_rows).
    pub shift: Option<Tensor<1>>,
    /// The rows that are shifted.
    pub shift_rows: RowSet,
    /// `[columns]`: weight of the positive entries.
    pub positive_weights: Option<Tensor<1>>,
    /// `[columns]`: weight of the negative entries of
    /// [`negative_weight_rows`](Self::negative_weight_rows); 1 on other rows.
    pub negative_weights: Option<Tensor<1>>,
    /// The rows whose negative entries are weighted.
    pub negative_weight_rows: RowSet,
    /// `[columns]`: the focal exponent `gamma`; entries are multiplied by `(1 - p_t)^gamma`.
    pub focal_gamma: Option<Tensor<1>>,
    /// `[rows]`: multiplies the loss of each row.
    pub row_weights: Option<Tensor<1>>,
}

impl Default for SigmoidTerms {
    fn default() -> Self {
        Self {
            shift: None,
            shift_rows: RowSet::All,
            positive_weights: None,
            negative_weights: None,
            negative_weight_rows: RowSet::All,
            focal_gamma: None,
            row_weights: None,
        }
    }
}

/// Loss of each row, summed over its columns: `v_r sum_j w_rj (1 - p_t)^gamma_j (-ln p_t)`.
///
/// `p_t = sigmoid(a)` at positives and `1 - sigmoid(a)` at negatives, with
/// `a_rj = logit_rj + shift_j`; `w` is the positive or the negative weight, `v` the row weight.
/// Without focal exponent the gradient with respect to a logit is `v_r w_rj (sigmoid(a_rj) - y_rj)`.
/// Finite for any finite logit; reads nothing back to the host.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]`, or `[rows, columns]` of 0 and 1
/// - output: `[rows]`
///
/// # Panics
/// If the shapes disagree.
pub fn sigmoid_loss(logits: Tensor<2>, labels: Labels, terms: SigmoidTerms) -> Tensor<1> {
    let [num_rows, num_columns] = logits.dims();
    let needs_foreground = [
        (terms.shift.is_some(), terms.shift_rows),
        (terms.negative_weights.is_some(), terms.negative_weight_rows),
    ]
    .contains(&(true, RowSet::Foreground));
    let is_foreground = needs_foreground.then(|| is_foreground(&labels, num_columns));
    let on_rows = |rows: RowSet| if rows == RowSet::All { None } else { is_foreground.clone() };
    let targets = targets(labels, num_rows, num_columns);

    let logits = match terms.shift {
        None => logits,
        Some(shift) => {
            assert_shape!(shift, [num_columns]);
            let shift = shift.unsqueeze::<2>();
            logits
                + match on_rows(terms.shift_rows) {
                    None => shift,
                    Some(rows) => rows * shift, // [rows, columns]
                }
        }
    };

    // At 0/1 targets BCE is -ln sigmoid(±a): one stable call, whose gradient loses no digits.
    let signed = logits * (targets.clone() * 2.0 - 1.0);
    let mut loss = -log_sigmoid(signed.clone());
    if let Some(gamma) = terms.focal_gamma {
        assert_shape!(gamma, [num_columns]);
        // (1 - p_t)^gamma = exp(gamma ln sigmoid(-±a))
        loss = loss * (log_sigmoid(-signed) * gamma.unsqueeze()).exp();
    }
    if let Some(weights) = terms.negative_weights {
        assert_shape!(weights, [num_columns]);
        let mut excess = (1.0 - targets.clone()) * (weights - 1.0).unsqueeze();
        if let Some(rows) = on_rows(terms.negative_weight_rows) {
            excess = excess * rows;
        }
        loss = loss * (excess + 1.0);
    }
    if let Some(weights) = terms.positive_weights {
        assert_shape!(weights, [num_columns]);
        loss = loss * (targets * (weights - 1.0).unsqueeze() + 1.0);
    }
    let loss = loss.sum_dim(1).squeeze_dim::<1>(1);
    match terms.row_weights {
        None => loss,
        Some(weights) => {
            assert_shape!(weights, [num_rows]);
            loss * weights
        }
    }
}

/// The 0/1 targets, `[rows, columns]`.
fn targets(labels: Labels, num_rows: usize, num_columns: usize) -> Tensor<2> {
    match labels {
        Labels::Classes(labels) => {
            assert_shape!(labels, [num_rows]);
            // `one_hot` reads back to the host.
            let columns = Tensor::<1, Int>::arange(0..num_columns as i64, &labels.device());
            labels.unsqueeze_dim::<2>(1).equal(columns.unsqueeze()).float()
        }
        Labels::MultiLabel(targets) => {
            assert_shape!(targets, [num_rows, num_columns]);
            targets
        }
    }
}

/// 1 on rows with a positive, `[rows, 1]`.
fn is_foreground(labels: &Labels, num_columns: usize) -> Tensor<2> {
    match labels {
        Labels::Classes(labels) => {
            labels.clone().lower_scalar(num_columns as i64).float().unsqueeze_dim(1)
        }
        Labels::MultiLabel(targets) => targets.clone().max_dim(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
