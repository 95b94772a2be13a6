//! Composed form of the sigmoid losses.

use burn::tensor::{
    Int, Tensor,
    activation::{log_sigmoid, sigmoid},
};

use crate::{Labels, RowSet, SigmoidLossOutput, SigmoidTerms};

/// Composed form of [`sigmoid_loss`](crate::sigmoid_loss).
pub fn sigmoid_loss(logits: Tensor<2>, labels: Labels, terms: SigmoidTerms) -> Tensor<1> {
    Entries::new(logits, labels, &terms).losses(&terms)
}

/// Composed form of [`sigmoid_loss_with_sums`](crate::sigmoid_loss_with_sums).
pub fn sigmoid_loss_with_sums(
    logits: Tensor<2>,
    labels: Labels,
    terms: SigmoidTerms,
) -> SigmoidLossOutput {
    let plain = labels.clone().without_autodiff();
    let entries = Entries::new(logits.clone().without_autodiff(), plain, &terms);
    let targets = entries.targets.clone();
    let mut gradients = entries.absolute_gradients(&terms); // [rows, columns]
    if let Some(weights) = &terms.row_weights {
        gradients = gradients
            * weights.clone().without_autodiff().not_equal_elem(0.0).float().unsqueeze_dim(1);
    }
    let positive = gradients.clone() * targets;
    let sum = |values: Tensor<2>| values.sum_dim(0).squeeze_dim::<1>(0);
    SigmoidLossOutput {
        losses: sigmoid_loss(logits, labels, terms),
        negative_sums: sum(gradients - positive.clone()),
        positive_sums: sum(positive),
    }
}

/// Composed form of [`sigmoid_error_counts`](crate::sigmoid_error_counts).
pub fn sigmoid_error_counts(
    logits: Tensor<2>,
    labels: Labels,
    row_weights: Option<Tensor<1>>,
    num_bins: usize,
) -> Tensor<1> {
    let [num_rows, num_columns] = logits.dims();
    let terms = SigmoidTerms { row_weights, ..Default::default() };
    let labels = labels.without_autodiff();
    let entries = Entries::new(logits.without_autodiff(), labels, &terms);
    let bins = bins(entries.signed, num_bins);
    let counted: Tensor<2> = match terms.row_weights {
        Some(weights) => {
            let counts = weights.without_autodiff().not_equal_elem(0.0).float();
            counts.unsqueeze_dim::<2>(1).expand([num_rows, num_columns])
        }
        None => Tensor::ones([num_rows, num_columns], &bins.device()),
    };
    let of_bin = |bin: usize| (bins.clone().equal_elem(bin as i64).float() * counted.clone()).sum();
    Tensor::cat((0..num_bins).map(of_bin).collect(), 0)
}

/// What every entry is made of, `[rows, columns]` each.
struct Entries {
    /// Shifted logits; at negatives with the other sign.
    signed: Tensor<2>,
    /// 0 or 1.
    targets: Tensor<2>,
    /// Class weights.
    weights: Option<Tensor<2>>,
}

impl Entries {
    fn new(logits: Tensor<2>, labels: Labels, terms: &SigmoidTerms) -> Self {
        let [num_rows, num_columns] = logits.dims();
        let num_classes = num_columns - usize::from(terms.has_background_column);
        let rows_of = |rows: RowSet| match rows {
            RowSet::All => None,
            RowSet::Foreground => Some(is_foreground(&labels, num_classes)), // [rows, 1]
        };
        let targets = targets(&labels, num_columns);

        let mut logits = logits;
        if let Some(weights) = &terms.row_weights {
            let is_left_out = weights.clone().without_autodiff().equal_elem(0.0);
            let is_left_out = is_left_out.unsqueeze_dim::<2>(1).expand([num_rows, num_columns]);
            logits = logits.mask_fill(is_left_out, 0.0);
        }
        if let Some(shift) = &terms.shift {
            let shift = shift.clone().unsqueeze::<2>();
            logits = logits
                + match rows_of(terms.shift_rows) {
                    None => shift,
                    Some(rows) => rows * shift,
                };
        }
        let mut weights = None;
        if let Some(negative) = &terms.negative_weights {
            let mut excess = (1.0 - targets.clone()) * (negative.clone() - 1.0).unsqueeze();
            if let Some(rows) = rows_of(terms.negative_weight_rows) {
                excess = excess * rows;
            }
            weights = Some(excess + 1.0);
        }
        if let Some(positive) = &terms.positive_weights {
            let positive = targets.clone() * (positive.clone() - 1.0).unsqueeze() + 1.0;
            weights = Some(match weights {
                None => positive,
                Some(negative) => negative * positive,
            });
        }
        let mut scale = |factor: Tensor<2>| {
            weights = Some(match weights.take() {
                None => factor,
                Some(weights) => weights * factor,
            });
        };
        if let Some(draw) = &terms.background_draw {
            let left_out = (1.0 - draw.kept(num_rows)) * (1.0 - targets.clone());
            scale(1.0 - left_out * (1.0 - is_foreground(&labels, num_classes)));
        }
        if let Some(threshold) = terms.foreground_threshold {
            let is_below = logits.clone().without_autodiff().lower_elem(threshold).float();
            let left_out = is_below * (1.0 - targets.clone());
            scale(1.0 - left_out * is_foreground(&labels, num_classes));
        }
        let signed = logits * (targets.clone() * 2.0 - 1.0);
        if let Some(table) = &terms.error_weights {
            let table = table.clone().without_autodiff();
            let bins = bins(signed.clone().without_autodiff(), table.dims()[0]);
            let bins = bins.reshape([num_rows * num_columns]);
            scale(table.select(0, bins).reshape([num_rows, num_columns]));
        }
        Self { signed, targets, weights }
    }

    fn weighted(&self, values: Tensor<2>) -> Tensor<2> {
        match &self.weights {
            None => values,
            Some(weights) => values * weights.clone(),
        }
    }

    /// `(1 - p_t)^gamma = exp(gamma ln sigmoid(-±a))`
    fn focal(&self, gamma: &Tensor<1>) -> Tensor<2> {
        (log_sigmoid(-self.signed.clone()) * gamma.clone().unsqueeze()).exp()
    }

    fn losses(self, terms: &SigmoidTerms) -> Tensor<1> {
        // At 0/1 targets BCE is -ln sigmoid(±a): one stable call, whose gradient loses no digits.
        let mut loss = -log_sigmoid(self.signed.clone());
        if let (Some(gamma), None) = (&terms.focal_gamma, &terms.error_weights) {
            loss = loss * self.focal(gamma);
        }
        let loss = self.weighted(loss).sum_dim(1).squeeze_dim::<1>(1);
        let loss = match &terms.row_weights {
            None => loss,
            Some(weights) => loss * weights.clone(),
        };
        if terms.factor == 1.0 { loss } else { loss * terms.factor }
    }

    /// Without row weights: `w (1 - p_t)^gamma (1 - p_t + gamma p_t (-ln p_t))`.
    fn absolute_gradients(self, terms: &SigmoidTerms) -> Tensor<2> {
        let log_right = log_sigmoid(self.signed.clone());
        let mut gradient = log_sigmoid(-self.signed.clone()).exp();
        if let (Some(gamma), None) = (&terms.focal_gamma, &terms.error_weights) {
            let through_focal = -log_right.clone() * log_right.exp();
            gradient = gradient + through_focal * gamma.clone().unsqueeze();
            gradient = gradient * self.focal(gamma);
        }
        self.weighted(gradient)
    }
}

/// The 0/1 targets, `[rows, columns]`.
fn targets(labels: &Labels, num_columns: usize) -> Tensor<2> {
    match labels {
        Labels::Classes(labels) => {
            // `one_hot` reads back to the host.
            let columns = Tensor::<1, Int>::arange(0..num_columns as i64, &labels.device());
            labels.clone().unsqueeze_dim::<2>(1).equal(columns.unsqueeze()).float()
        }
        Labels::MultiLabel(targets) => targets.clone(),
    }
}

/// 1 on rows with a positive in the first columns, `[rows, 1]`.
fn is_foreground(labels: &Labels, num_classes: usize) -> Tensor<2> {
    match labels {
        Labels::Classes(labels) => {
            labels.clone().lower_scalar(num_classes as i64).float().unsqueeze_dim(1)
        }
        Labels::MultiLabel(targets) if num_classes == 0 => targets.clone() * 0.0,
        Labels::MultiLabel(targets) => targets.clone().narrow(1, 0, num_classes).max_dim(1),
    }
}

/// The bin of every entry's error, from logits whose sign is turned at negatives.
fn bins(signed: Tensor<2>, num_bins: usize) -> Tensor<2, Int> {
    let errors = sigmoid(-signed) * num_bins as f64;
    let is_nan = errors.clone().is_nan(); // some backends refuse to make it an integer
    errors.mask_fill(is_nan, 0.0).int().clamp(0, num_bins as i64 - 1)
}
