//! Softmax cross-entropy within groups of columns.

use burn::tensor::{Int, Tensor, assert_shape};

use crate::{composed_softmax_loss::one_by_one, softmax_loss};

/// Groups of columns that compete among themselves only, and what each label is in each group. All
/// are constants: no gradient flows into them.
#[derive(Debug, Clone)]
pub struct ColumnGroups {
    /// 1 for the columns of a group, else 0, `[groups, columns]`. Groups may share columns.
    pub members: Tensor<2>,
    /// The column of a label in a group, one of its own, `[groups, labels]`.
    pub targets: Tensor<2, Int>,
}

/// Loss of each row, `sum_g w_gr (logsumexp_{j in g} z_rj - z_{r, t_g(y)})`, where `y` is the row's
/// label, `t_g(y)` its column in group `g`, and `w` the weight of the group in the row.
///
/// The gradient with respect to a logit is the sum of `w_gr (softmax_g(z)_rj - [j = t_g(y)])` over the
/// groups of its column. What a group of weight 0 holds in a row does not matter. On `flex` all groups
/// are one pass over the logits; elsewhere each is a pass of its own. Reads nothing back to the host.
///
/// # Shapes
/// - logits: `[rows, columns]`, at least one row
/// - labels: `[rows]` in `0..labels`
/// - weights: `[groups, rows]`, without gradient
/// - output: `[rows]`
///
/// # Panics
/// If the shapes disagree, or without a group.
pub fn grouped_softmax_loss(
    logits: Tensor<2>,
    labels: Tensor<1, Int>,
    groups: ColumnGroups,
    weights: Tensor<2>,
) -> Tensor<1> {
    let [num_rows, num_columns] = logits.dims();
    let [num_groups, _] = groups.members.dims();
    let [_, num_labels] = groups.targets.dims();
    assert!(num_groups > 0, "at least one group");
    assert_shape!(labels, [num_rows]);
    assert_shape!(groups.members, [num_groups, num_columns]);
    assert_shape!(groups.targets, [num_groups, num_labels]);
    assert_shape!(weights, [num_groups, num_rows]);
    #[cfg(feature = "flex")]
    if crate::flex::takes(&logits) {
        return crate::flex::grouped_softmax_loss(logits, labels, groups, weights);
    }
    one_by_one(logits, labels, groups, weights, softmax_loss)
}
