//! Softmax cross-entropy with a shift, a margin, a scale and row weights.

use burn::tensor::{Int, Tensor, activation::log_softmax, assert_shape};

/// A shift of the logits inside the softmax.
#[derive(Debug, Clone)]
pub enum Shift {
    /// One value per column, `[columns]`: a prior.
    PerColumn(Tensor<1>),
    /// One value per entry, `[rows, columns]`: a mask (a large negative value leaves an entry out
    /// of the sum), or a factor that depends on row and column.
    PerEntry(Tensor<2>),
}

/// What a method adds to plain cross-entropy. The default adds nothing. All terms are constants:
/// no gradient flows into them.
#[derive(Debug, Clone)]
pub struct SoftmaxTerms {
    /// Added after margin and scale.
    pub shift: Option<Shift>,
    /// `[columns]`: subtracted from the logit of the row's own label, before the scale.
    pub margin: Option<Tensor<1>>,
    /// Multiplies the logits.
    pub scale: f32,
    /// `[rows]`: multiplies the loss of each row.
    pub row_weights: Option<Tensor<1>>,
}

impl Default for SoftmaxTerms {
    fn default() -> Self {
        Self { shift: None, margin: None, scale: 1.0, row_weights: None }
    }
}

/// Loss of each row, `w_r (logsumexp_j a_rj - a_ry)` with
/// `a_rj = scale (logit_rj - [j = y] margin_y) + shift_rj`, where `y` is the row's label.
///
/// The gradient with respect to a logit is `w_r scale (softmax(a)_rj - [j = y])`. Reads nothing
/// back to the host.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]` in `0..columns`
/// - output: `[rows]`
///
/// # Panics
/// If the shapes disagree.
pub fn softmax_loss(logits: Tensor<2>, labels: Tensor<1, Int>, terms: SoftmaxTerms) -> Tensor<1> {
    let [num_rows, num_columns] = logits.dims();
    assert_shape!(labels, [num_rows]);

    let labels = labels.unsqueeze_dim::<2>(1); // [rows, 1]
    let mut logits = logits;
    if let Some(margin) = terms.margin {
        assert_shape!(margin, [num_columns]);
        let columns = Tensor::<1, Int>::arange(0..num_columns as i64, &labels.device());
        let is_label = labels.clone().equal(columns.unsqueeze()).float();
        logits = logits - is_label * margin.unsqueeze();
    }
    if terms.scale != 1.0 {
        logits = logits * terms.scale;
    }
    let logits = match terms.shift {
        None => logits,
        Some(Shift::PerColumn(shift)) => {
            assert_shape!(shift, [num_columns]);
            logits + shift.unsqueeze()
        }
        Some(Shift::PerEntry(shift)) => {
            assert_shape!(shift, [num_rows, num_columns]);
            logits + shift
        }
    };
    let loss = -log_softmax(logits, 1).gather(1, labels).squeeze_dim::<1>(1);
    match terms.row_weights {
        None => loss,
        Some(weights) => {
            assert_shape!(weights, [num_rows]);
            loss * weights
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use longtail_testing::{assert_close, device, values};

    const LOGITS: [[f64; 3]; 2] = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]];
    const LABELS: [usize; 2] = [2, 0];
    const MARGIN: [f64; 3] = [0.5, 0.25, 0.1];
    const SHIFT: [[f64; 3]; 2] = [[-1.0, 0.5, 0.0], [0.0, -1e7, 2.0]];
    const WEIGHTS: [f64; 2] = [0.5, 3.0];
    const SCALE: f64 = 2.0;

    fn matrix(rows: [[f64; 3]; 2], device: &Device) -> Tensor<2> {
        Tensor::from_floats(rows.map(|row| row.map(|v| v as f32)), device)
    }

    /// Losses and gradients, one entry after the other.
    fn slow_loop(shift: [[f64; 3]; 2]) -> ([f64; 2], Vec<f64>) {
        let (mut losses, mut gradient) = ([0.0; 2], Vec::new());
        for row in 0..2 {
            let label = LABELS[row];
            let mut exps = [0.0; 3];
            for (j, exp) in exps.iter_mut().enumerate() {
                let margin = if j == label { MARGIN[j] } else { 0.0 };
                *exp = (SCALE * (LOGITS[row][j] - margin) + shift[row][j]).exp();
            }
            let sum: f64 = exps.iter().sum();
            losses[row] = -WEIGHTS[row] * (exps[label] / sum).ln();
            for (j, exp) in exps.iter().enumerate() {
                let target = if j == label { 1.0 } else { 0.0 };
                gradient.push(WEIGHTS[row] * SCALE * (exp / sum - target));
            }
        }
        (losses, gradient)
    }

    #[test]
    fn every_term_matches_a_slow_loop() {
        let device = device().autodiff();
        let vector = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::<1>::from_floats(values.as_slice(), &device)
        };
        let per_column = [SHIFT[0]; 2];
        for (shift, terms_shift) in [
            (SHIFT, Shift::PerEntry(matrix(SHIFT, &device))),
            (per_column, Shift::PerColumn(vector(&SHIFT[0]))),
        ] {
            let logits = matrix(LOGITS, &device).require_grad();
            let terms = SoftmaxTerms {
                shift: Some(terms_shift),
                margin: Some(vector(&MARGIN)),
                scale: SCALE as f32,
                row_weights: Some(vector(&WEIGHTS)),
            };
            let labels = Tensor::from_ints(LABELS.map(|label| label as i32), &device);
            let loss = softmax_loss(logits.clone(), labels, terms);
            let gradients = loss.clone().sum().backward();
            let (losses, gradient) = slow_loop(shift);
            assert_close("losses", &values(loss), &losses, 1e-6);
            assert_close("gradient", &values(logits.grad(&gradients).unwrap()), &gradient, 1e-6);
        }
    }
}
