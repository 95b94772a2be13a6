//! Contrast between two views of an image and images of other classes.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, assert_shape};

/// What queries are told from: keys of earlier images, with their labels.
#[derive(Clone, Debug)]
pub struct Negatives {
    /// `[num_keys, width]`, rows of length 1.
    pub keys: Tensor<2>,
    /// `[num_keys]`; a label that no query has makes a negative of all.
    pub labels: Tensor<1, Int>,
}

/// Momentum contrast in which keys of the query's own class are no negatives:
/// `1/R sum_r -ln e^(q_r.k_r/T) / (e^(q_r.k_r/T) + sum over i with label_i != y_r of e^(q_r.n_i/T))`;
/// 0 without rows.
///
/// Keys and negatives get no gradient. Without equal labels it is the loss of MoCo, He et al., CVPR
/// 2020, <https://arxiv.org/abs/1911.05722>. Source: the first stage of
/// Self-Supervised-to-Distillation, Li et al., ICCV 2021, <https://arxiv.org/abs/2109.04075>.
///
/// # Shapes
/// - queries: `[rows, width]`, rows of length 1
/// - keys: `[rows, width]`, of the same images
/// - labels: `[rows]`
/// - output: `[1]`
///
/// # Panics
/// If the shapes disagree.
pub fn label_contrast(
    queries: Tensor<2>,
    keys: Tensor<2>,
    labels: Tensor<1, Int>,
    negatives: &Negatives,
    temperature: f64,
) -> Tensor<1> {
    let [num_rows, width] = queries.dims();
    let [num_keys] = negatives.labels.dims();
    assert_shape!(keys, [num_rows, width]);
    assert_shape!(labels, [num_rows]);
    assert_shape!(negatives.keys, [num_keys, width]);
    if num_rows == 0 {
        return queries.sum();
    }

    let positive = (queries.clone() * keys.without_autodiff()).sum_dim(1); // [rows, 1]
    let negative = queries.matmul(negatives.keys.clone().without_autodiff().transpose());
    let rows = labels.without_autodiff().unsqueeze_dim::<2>(1);
    let columns = negatives.labels.clone().without_autodiff().unsqueeze_dim::<2>(0);
    let is_same = rows.expand([num_rows, num_keys]).equal(columns.expand([num_rows, num_keys]));
    // Far below any cosine over a temperature, so that its exponential is 0.
    let negative = negative.div_scalar(temperature).mask_fill(is_same, -1e9);
    let logits = Tensor::cat(vec![positive.div_scalar(temperature), negative], 1);
    -log_softmax(logits, 1).narrow(1, 0, 1).sum() / num_rows as f64
}
