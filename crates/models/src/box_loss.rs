//! Losses of single numbers: box offsets and yes-or-no pixels.

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;

/// Smooth L1: `d^2 / (2 beta)` for `d = |prediction - target| < beta`, else `d - beta / 2`.
///
/// The gradient is `(prediction - target) / beta` inside and the sign of the difference outside.
/// Source: Girshick, <https://arxiv.org/abs/1504.08083>; `beta` as in PyTorch's `smooth_l1_loss`.
///
/// # Shapes
/// - predictions, targets, output: the same
pub(crate) fn smooth_l1<const D: usize>(
    predictions: Tensor<D>,
    targets: Tensor<D>,
    beta: f32,
) -> Tensor<D> {
    let distance = (predictions - targets).abs();
    if beta <= 0.0 {
        return distance;
    }
    let inner = distance.clone().clamp_max(beta);
    inner.clone() * (distance - inner * 0.5) * (1.0 / beta)
}

/// `-t ln sigmoid(x) - (1 - t) ln(1 - sigmoid(x))`, finite for any finite `x`; `t` in `[0, 1]`.
///
/// # Shapes
/// - logits, targets, output: the same
pub(crate) fn binary_cross_entropy<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
) -> Tensor<D> {
    (targets.neg() + 1.0) * logits.clone() - log_sigmoid(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{assert_close, values};

    /// `torch.nn.functional.smooth_l1_loss(x, t, beta=1/9, reduction="none")` and its gradient.
    #[test]
    fn smooth_l1_matches() {
        let device = longtail_testing::device().autodiff();
        let x = Tensor::<1>::from_floats([0.0, 0.05, -0.05, 0.2, -3.0], &device).require_grad();
        let targets = Tensor::from_floats([0.0, 0.0, 0.05, 0.0, 1.0], &device);
        let loss = smooth_l1(x.clone(), targets, 1.0 / 9.0);
        let expected = [0.0, 0.011_25, 0.045, 0.2 - 1.0 / 18.0, 4.0 - 1.0 / 18.0];
        assert_close("loss", &values(loss.clone()), &expected, 1e-6);
        let gradient = values(x.grad(&loss.sum().backward()).unwrap());
        assert_close("gradient", &gradient, &[0.0, 0.45, -0.9, 1.0, -1.0], 1e-6);
        let x = Tensor::<1>::from_floats([2.0, -0.5], &device);
        let targets = Tensor::from_floats([0.0, 0.0], &device);
        assert_eq!(values(smooth_l1(x, targets, 0.0)), [2.0, 0.5]);
    }

    /// By the formula in f64, with fractions as targets.
    #[test]
    fn binary_cross_entropy_matches() {
        let device = longtail_testing::device().autodiff();
        let logits = [0.0_f32, 2.0, -3.0, 80.0, -80.0];
        let targets = [0.5_f32, 0.25, 1.0, 0.0, 1.0];
        let x = Tensor::<1>::from_floats(logits, &device).require_grad();
        let loss = binary_cross_entropy(x.clone(), Tensor::from_floats(targets, &device));
        let pairs = || logits.iter().zip(&targets).map(|(&x, &t)| (f64::from(x), f64::from(t)));
        let bce = |(x, t): (f64, f64)| x.max(0.0) - x * t + (-x.abs()).exp().ln_1p();
        let expected: Vec<f64> = pairs().map(bce).collect();
        assert_close("loss", &values(loss.clone()), &expected, 1e-6);
        let expected: Vec<f64> = pairs().map(|(x, t)| 1.0 / (1.0 + (-x).exp()) - t).collect();
        let gradient = values(x.grad(&loss.sum().backward()).unwrap());
        assert_close("gradient", &gradient, &expected, 1e-6);
    }
}
