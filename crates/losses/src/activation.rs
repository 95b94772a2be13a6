//! Activations of the balanced methods, and the scores that the methods share.

use burn::tensor::{
    Tensor,
    activation::{sigmoid, softmax},
};

use crate::{LossError, layout::Background, layout::Layout};

/// Balanced Softmax, `n_j e^{logit_j} / sum_k n_k e^{logit_k}`: the class probabilities under the
/// training distribution, when `softmax(logits)` models the balanced one.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - log_counts: `[classes]`, `ln n_j` or the log of any multiple of `n`
/// - output: `[rows, classes]`
///
/// # Panics
/// If the shapes disagree.
pub fn balanced_softmax(logits: Tensor<2>, log_counts: Tensor<1>) -> Tensor<2> {
    softmax(logits + log_counts.unsqueeze(), 1)
}

/// Balanced Sigmoid, `sigmoid(logit_j + shift_j)`: the probabilities under the training
/// distribution, when `sigmoid(logits)` models the balanced one.
///
/// # Shapes
/// - logits: `[rows, classes]`
/// - shift: `[classes]`, log-odds of the training prior over the test prior
/// - output: `[rows, classes]`
///
/// # Panics
/// If the shapes disagree.
pub fn balanced_sigmoid(logits: Tensor<2>, shift: Tensor<1>) -> Tensor<2> {
    sigmoid(logits + shift.unsqueeze())
}

/// Softmax over all class columns, background included, then without it. With objectness columns:
/// softmax over the classes times the probability of foreground.
pub(crate) fn class_softmax(logits: Tensor<2>, layout: &Layout) -> Result<Tensor<2>, LossError> {
    layout.check_width(logits.dims()[1])?;
    let num_classes = layout.num_classes();
    Ok(match layout.background() {
        Background::None | Background::NoColumn => softmax(logits, 1),
        Background::Column => softmax(logits, 1).narrow(1, 0, num_classes),
        Background::Objectness => {
            let classes = softmax(logits.clone().narrow(1, 0, num_classes), 1);
            let objectness = softmax(logits.narrow(1, num_classes, 2), 1);
            classes * objectness.narrow(1, 0, 1)
        }
    })
}

/// Sigmoid of the class columns. With a background column: times the probability of not being
/// background.
pub(crate) fn class_sigmoid(logits: Tensor<2>, layout: &Layout) -> Result<Tensor<2>, LossError> {
    layout.check_width(logits.dims()[1])?;
    let num_classes = layout.num_classes();
    Ok(match layout.background() {
        Background::Column => {
            let classes = sigmoid(logits.clone().narrow(1, 0, num_classes));
            classes * sigmoid(-logits.narrow(1, num_classes, 1))
        }
        _ => sigmoid(logits),
    })
}
