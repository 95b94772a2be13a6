//! Weights of the classes by their number of examples.

use burn::tensor::{Device, Tensor};

use crate::{
    LossError,
    error::{check_length, check_parameter},
    layout::Layout,
    rows::table,
};

/// Weights by the effective number of examples, `(1 - beta) / (1 - beta^n)`, scaled to add up to
/// the number of classes.
///
/// `beta = 0` weights all classes alike; towards 1 the weight goes to `1 / n`. A class without an
/// example counts as having one. Computed in f64: with large counts `beta^n` is 0 and the weights
/// of frequent classes become equal.
///
/// Source: Cui et al., Class-Balanced Loss, CVPR 2019, <https://arxiv.org/abs/1901.05555>.
///
/// # Errors
/// If `beta` is outside `[0, 1)`.
pub fn effective_number_weights(counts: &[u64], beta: f64) -> Result<Vec<f64>, LossError> {
    check_parameter("beta", beta, (0.0..1.0).contains(&beta), "in [0, 1)")?;
    // exp_m1 keeps the digits that 1 - beta^n loses when beta is close to 1.
    let inverse = |&count: &u64| (1.0 - beta) / -(count.max(1) as f64 * beta.ln()).exp_m1();
    let weights: Vec<f64> = counts.iter().map(inverse).collect();
    let scale = counts.len() as f64 / weights.iter().sum::<f64>();
    Ok(weights.into_iter().map(|weight| weight * scale).collect())
}

/// One weight per label on the device; background, where it is a label, weighs 1.
pub(crate) fn weight_table(
    weights: &[f64],
    layout: &Layout,
    device: &Device,
) -> Result<Tensor<1>, LossError> {
    check_length("class weights", weights.len(), layout.num_classes())?;
    for &weight in weights {
        let is_valid = weight.is_finite() && weight > 0.0;
        check_parameter("a class weight", weight, is_valid, "positive and finite")?;
    }
    let background = layout.num_labels() - layout.num_classes();
    let weights = weights.iter().copied().chain(std::iter::repeat_n(1.0, background));
    Ok(table(weights, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_numbers() {
        // beta = 0.9: effective numbers 1, 1.9, 10 (1 - 0.9^1000).
        let weights = effective_number_weights(&[0, 2, 1000], 0.9).unwrap();
        let inverse = [1.0, 1.0 / 1.9, 0.1];
        let sum: f64 = inverse.iter().sum();
        for (weight, expected) in weights.iter().zip(inverse) {
            assert!((weight - 3.0 * expected / sum).abs() < 1e-12, "{weights:?}");
        }
        assert_eq!(effective_number_weights(&[5, 0, 7], 0.0).unwrap(), [1.0; 3]);
        // Close to 1 the weight is 1 / n.
        let weights = effective_number_weights(&[1, 4], 1.0 - 1e-12).unwrap();
        assert!((weights[0] - 1.6).abs() < 1e-9 && (weights[1] - 0.4).abs() < 1e-9);
    }

    #[test]
    fn beta_of_one_is_refused() {
        let error = effective_number_weights(&[1], 1.0).unwrap_err();
        assert_eq!(error.to_string(), "beta must be in [0, 1), got 1");
    }
}
