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
