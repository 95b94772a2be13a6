//! Composed form of the softmax losses.

use burn::tensor::{Int, Tensor, activation::log_softmax};

use crate::{ColumnGroups, SeesawShift, Shift, SoftmaxTerms};

/// Far below any logit: `e` to this power is 0 in f32.
const LEFT_OUT: f32 = -1e7;

/// Composed form of [`softmax_loss`](crate::softmax_loss).
pub fn softmax_loss(logits: Tensor<2>, labels: Tensor<1, Int>, terms: SoftmaxTerms) -> Tensor<1> {
    let [num_rows, num_logits] = logits.dims();
    let mut logits = logits;
    // Some backends refuse to expand nothing.
    if let Some(weights) = terms.row_weights.as_ref().filter(|_| num_rows > 0) {
        let is_left_out = weights.clone().without_autodiff().equal_elem(0.0);
        let is_left_out = is_left_out.unsqueeze_dim::<2>(1).expand([num_rows, num_logits]);
        logits = logits.mask_fill(is_left_out, 0.0);
    }
    let (row_weights, factor) = (terms.row_weights.clone(), terms.factor);
    let loss = if terms.objectness {
        let num_columns = num_logits - 2;
        let is_background = labels.clone().greater_equal_scalar(num_columns as i64);
        let objectness = logits.clone().narrow(1, num_columns, 2);
        let loss = cross_entropy(objectness, is_background.clone().int());
        if num_columns == 0 {
            loss
        } else {
            // Background rows have some class and count for nothing.
            let labels = labels.clamp(0, num_columns as i64 - 1);
            let logits = logits.narrow(1, 0, num_columns);
            let class_loss = class_loss(logits, labels, terms);
            loss + class_loss * is_background.bool_not().float()
        }
    } else {
        class_loss(logits, labels, terms)
    };
    let loss = match row_weights {
        None => loss,
        Some(weights) => loss * weights,
    };
    if factor == 1.0 { loss } else { loss * factor }
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    -log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).squeeze_dim::<1>(1)
}

/// The loss with margin, scale and shift.
fn class_loss(logits: Tensor<2>, labels: Tensor<1, Int>, terms: SoftmaxTerms) -> Tensor<1> {
    let [num_rows, num_columns] = logits.dims();
    let is_label = || {
        let columns = Tensor::<1, Int>::arange(0..num_columns as i64, &labels.device());
        labels.clone().unsqueeze_dim::<2>(1).equal(columns.unsqueeze())
    };
    let shift = terms.shift.map(|shift| match shift {
        Shift::PerColumn(shift) => shift.unsqueeze(),
        Shift::PerEntry(shift) => shift,
        Shift::Random(mask) => mask.draw(num_rows).mask_fill(is_label(), 0.0) * LEFT_OUT,
        Shift::Seesaw(seesaw) => log_factors(seesaw, logits.clone(), labels.clone()),
    });
    let mut logits = logits;
    if let Some(margin) = terms.margin {
        logits = logits - is_label().float() * margin.unsqueeze();
    }
    if terms.scale != 1.0 {
        logits = logits * terms.scale;
    }
    if let Some(shift) = shift {
        logits = logits + shift;
    }
    cross_entropy(logits, labels)
}

/// `[rows, columns]`. It is 0 at the label by itself.
fn log_factors(seesaw: SeesawShift, logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<2> {
    let labels = labels.without_autodiff();
    let log_counts = seesaw.log_counts.without_autodiff();
    let of_label = log_counts.clone().select(0, labels.clone()).unsqueeze_dim::<2>(1);
    let mitigation = (log_counts.unsqueeze::<2>() - of_label).clamp_max(0.0) * seesaw.p;

    let log_scores = log_softmax(logits.without_autodiff(), 1);
    let of_label = log_scores.clone().gather(1, labels.unsqueeze_dim(1));
    let compensation = (log_scores - of_label.clamp_min(seesaw.log_epsilon)).clamp_min(0.0);
    mitigation + compensation * seesaw.q
}

/// Composed form of [`grouped_softmax_loss`](crate::grouped_softmax_loss).
pub fn grouped_softmax_loss(
    logits: Tensor<2>,
    labels: Tensor<1, Int>,
    groups: ColumnGroups,
    weights: Tensor<2>,
) -> Tensor<1> {
    one_by_one(logits, labels, groups, weights, softmax_loss)
}

/// A softmax loss of each group, in which the other columns are left out.
pub(crate) fn one_by_one(
    logits: Tensor<2>,
    labels: Tensor<1, Int>,
    groups: ColumnGroups,
    weights: Tensor<2>,
    loss: fn(Tensor<2>, Tensor<1, Int>, SoftmaxTerms) -> Tensor<1>,
) -> Tensor<1> {
    let shifts: Tensor<2> = (1.0 - groups.members) * LEFT_OUT;
    let of_group = |group: usize| {
        let row = |values: &Tensor<2>| values.clone().narrow(0, group, 1).squeeze_dim::<1>(0);
        let targets = groups.targets.clone().narrow(0, group, 1).squeeze_dim::<1>(0);
        let terms = SoftmaxTerms {
            shift: Some(Shift::PerColumn(row(&shifts))),
            row_weights: Some(row(&weights)),
            ..Default::default()
        };
        loss(logits.clone(), targets.select(0, labels.clone()), terms)
    };
    let [num_groups, _] = weights.dims();
    (1..num_groups).fold(of_group(0), |losses, group| losses + of_group(group))
}
