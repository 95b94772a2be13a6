//! Softmax cross-entropy with a shift, a margin, a scale and row weights.

#[cfg(any(feature = "flex", feature = "cube"))]
use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor, assert_shape};

use crate::{RandomMask, composed};
#[cfg(any(feature = "flex", feature = "cube"))]
use crate::{
    form,
    loss_backend::{LossBackend, ShiftConfig, SoftmaxConfig, inputs},
};

/// A shift of the logits inside the softmax.
#[derive(Debug, Clone)]
pub enum Shift {
    /// One value per column, `[columns]`: a prior.
    PerColumn(Tensor<1>),
    /// One value per entry, `[rows, columns]`: a mask (a large negative value leaves an entry out
    /// of the sum), or a factor that depends on row and column.
    PerEntry(Tensor<2>),
    /// Some columns are left out of the sum at random, the row's label never.
    Random(RandomMask),
    /// The factors of Seesaw loss.
    Seesaw(SeesawShift),
}

/// Shift by the logarithm of Seesaw loss's factors,
/// `p min(0, log_count_j - log_count_y) + q max(0, ln s_j - max(ln s_y, log_epsilon))`, where `s` is
/// the softmax of the logits, held constant, and `y` the row's label.
///
/// Source: Wang et al., CVPR 2021, <https://arxiv.org/abs/2008.10032>.
#[derive(Debug, Clone)]
pub struct SeesawShift {
    /// Logarithm of the labels seen of each class, `[columns]`.
    pub log_counts: Tensor<1>,
    /// Exponent of the mitigation factor.
    pub p: f32,
    /// Exponent of the compensation factor.
    pub q: f32,
    /// Logarithm of the smallest label probability in the compensation factor.
    pub log_epsilon: f32,
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
    /// Whether the last two columns, foreground and background, are a softmax of their own on every
    /// row. The other columns then count on foreground rows only; they alone have shift, margin and
    /// scale, whose tables are two columns shorter. The loss of a row is the sum of both.
    pub objectness: bool,
    /// `[rows]`: multiplies the loss of each row. A row of weight 0 has loss 0 and gradient 0,
    /// whatever its logits.
    pub row_weights: Option<Tensor<1>>,
    /// Multiplies every loss. With `1 / rows` the sum of the losses is their mean; a backward pass
    /// that starts from such a sum is the shortest.
    pub factor: f32,
}

impl Default for SoftmaxTerms {
    fn default() -> Self {
        Self {
            shift: None,
            margin: None,
            scale: 1.0,
            objectness: false,
            row_weights: None,
            factor: 1.0,
        }
    }
}

/// Loss of each row, `c w_r (logsumexp_j a_rj - a_ry)` with
/// `a_rj = scale (logit_rj - [j = y] margin_y) + shift_rj`, where `y` is the row's label, `w` the row
/// weight and `c` the factor.
///
/// The gradient with respect to a logit is `c w_r scale (softmax(a)_rj - [j = y])`. Reads nothing
/// back to the host.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]` in `0..columns`; with objectness in `0..=columns - 2`, where `columns - 2` is
///   background
/// - output: `[rows]`
///
/// # Panics
/// If the shapes disagree.
pub fn softmax_loss(logits: Tensor<2>, labels: Tensor<1, Int>, terms: SoftmaxTerms) -> Tensor<1> {
    check_shapes(&logits, &labels, &terms);
    #[cfg(any(feature = "flex", feature = "cube"))]
    if form::is_fused_on(&logits) {
        return fused(logits, labels, terms);
    }
    composed::softmax_loss(logits, labels, terms)
}

fn check_shapes(logits: &Tensor<2>, labels: &Tensor<1, Int>, terms: &SoftmaxTerms) {
    let [num_rows, num_logits] = logits.dims();
    assert_shape!(labels, [num_rows]);
    let objectness_columns = if terms.objectness { 2 } else { 0 };
    assert!(num_logits >= objectness_columns, "objectness needs two columns");
    let num_columns = num_logits - objectness_columns;
    match &terms.shift {
        None => {}
        Some(Shift::PerColumn(shift)) => assert_shape!(shift, [num_columns]),
        Some(Shift::PerEntry(shift)) => assert_shape!(shift, [num_rows, num_columns]),
        Some(Shift::Random(mask)) => assert_shape!(mask.columns, [num_columns]),
        Some(Shift::Seesaw(seesaw)) => assert_shape!(seesaw.log_counts, [num_columns]),
    }
    if let Some(margin) = &terms.margin {
        assert_shape!(margin, [num_columns]);
    }
    if let Some(weights) = &terms.row_weights {
        assert_shape!(weights, [num_rows]);
    }
}

#[cfg(any(feature = "flex", feature = "cube"))]
fn fused(logits: Tensor<2>, labels: Tensor<1, Int>, terms: SoftmaxTerms) -> Tensor<1> {
    let (shift, table, entries) = match terms.shift {
        None => (ShiftConfig::None, None, None),
        Some(Shift::PerColumn(shift)) => (ShiftConfig::PerColumn, Some(shift), None),
        Some(Shift::PerEntry(shift)) => (ShiftConfig::PerEntry, None, Some(shift)),
        Some(Shift::Random(mask)) => {
            let (key, bound) = (mask.key(), mask.bound());
            (ShiftConfig::RandomMask { key, bound }, Some(mask.columns), None)
        }
        Some(Shift::Seesaw(SeesawShift { log_counts, p, q, log_epsilon })) => {
            (ShiftConfig::Seesaw { p, q, log_epsilon }, Some(log_counts), None)
        }
    };
    let config = SoftmaxConfig {
        shift,
        has_margin: terms.margin.is_some(),
        scale: terms.scale,
        has_objectness: terms.objectness,
        has_row_weights: terms.row_weights.is_some(),
        factor: terms.factor,
        is_tracked: false,
    };
    let tables = [table, terms.margin];
    let inputs = inputs(Some(labels), &tables, entries, terms.row_weights, &logits.device());
    let (losses, _) =
        <Dispatch as LossBackend>::fused_softmax_loss(logits.into_dispatch(), inputs, config);
    Tensor::from_dispatch(losses)
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
                ..Default::default()
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
