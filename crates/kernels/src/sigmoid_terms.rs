//! What sigmoid losses are made of.

use burn::tensor::{Int, Tensor};

use crate::BackgroundDraw;

/// What each row should be.
#[derive(Debug, Clone)]
pub enum Labels {
    /// `[rows]`: the column that is 1. An index past the last column is a row without a positive:
    /// background.
    Classes(Tensor<1, Int>),
    /// `[rows, columns]`: each entry 0 or 1.
    MultiLabel(Tensor<2>),
}

impl Labels {
    /// The labels on the plain device.
    pub(crate) fn without_autodiff(self) -> Self {
        match self {
            Self::Classes(labels) => Self::Classes(labels.without_autodiff()),
            Self::MultiLabel(targets) => Self::MultiLabel(targets.without_autodiff()),
        }
    }
}

/// The rows a term acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowSet {
    /// Every row.
    All,
    /// Rows with at least one positive that is not the background column.
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
    /// Which negative entries of background rows count, drawn at random; all without it.
    pub background_draw: Option<BackgroundDraw>,
    /// Negative entries of foreground rows count only where the shifted logit is at least this.
    pub foreground_threshold: Option<f32>,
    /// `[bins]`: multiplies each entry by the value of its bin of `1 - p_t`; see
    /// [`sigmoid_error_counts`](crate::sigmoid_error_counts). It takes the place of a focal exponent,
    /// which is not read then.
    pub error_weights: Option<Tensor<1>>,
    /// Whether the last column says background: rows that are positive there are background rows.
    /// Otherwise those without a positive are.
    pub has_background_column: bool,
    /// `[rows]`: multiplies the loss of each row. A row of weight 0 has loss 0 and gradient 0,
    /// whatever its logits and label.
    pub row_weights: Option<Tensor<1>>,
    /// Multiplies every loss. With `1 / rows` the sum of the losses is their mean; a backward pass
    /// that starts from such a sum is the shortest.
    pub factor: f32,
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
            background_draw: None,
            foreground_threshold: None,
            error_weights: None,
            has_background_column: false,
            row_weights: None,
            factor: 1.0,
        }
    }
}
