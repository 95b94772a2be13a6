//! The classifier of causal norm: a total direct effect at test time.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::cosine::unit_parts;
use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// Added to the length of features; the released code divides by the length alone.
const EPSILON: f64 = 1e-12;

/// Configuration of [`CausalNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CausalNormConfig {
    /// Factor of the mean cosine. Default: the authors' 16.
    pub scale: f64,
    /// Features and weights are cut into this many parts, each normalised apart. Default: the
    /// authors' 2.
    pub num_heads: usize,
    /// Added to the length of a weight row. Default: the authors' 1/32.
    pub weight_eps: f64,
    /// How much of the effect of the mean feature is taken away at test time; 0 is none. Default:
    /// the authors' 3. A trained classifier may be evaluated with another one.
    pub alpha: f64,
    /// Share of the old mean feature that each batch leaves. Default: the authors' 0.9.
    pub momentum: f64,
}

impl Default for CausalNormConfig {
    fn default() -> Self {
        Self { scale: 16.0, num_heads: 2, weight_eps: 1.0 / 32.0, alpha: 3.0, momentum: 0.9 }
    }
}

impl CausalNormConfig {
    /// Makes the head: weights uniform in `±1 / sqrt(num_features)`, mean feature 0.
    ///
    /// # Errors
    /// If a value is out of range, `num_heads` does not divide `num_features`, or there is a prior
    /// bias: this head has none.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<CausalNorm, ModelError> {
        if let Some(prior_bias) = prior_bias {
            let head = "causal-norm";
            return Err(ModelError::BiasRequired { head, prior_bias, hint: " by definition" });
        }
        let check = |name, value: f64, fits: bool, expected| {
            let value = value.to_string();
            if fits { Ok(()) } else { Err(ModelError::InvalidValue { name, value, expected }) }
        };
        for (name, value) in [("head.scale", self.scale), ("head.weight_eps", self.weight_eps)] {
            check(name, value, value.is_finite() && value > 0.0, "finite and above 0")?;
        }
        let fits = self.alpha.is_finite() && self.alpha >= 0.0;
        check("head.alpha", self.alpha, fits, "finite and at least 0")?;
        let fits = (0.0..1.0).contains(&self.momentum);
        check("head.momentum", self.momentum, fits, "in [0, 1)")?;
        let fits = self.num_heads > 0 && num_features.is_multiple_of(self.num_heads);
        let expected = "a divisor of the number of features";
        check("head.num_heads", self.num_heads as f64, fits, expected)?;

        let fill = Fill::Uniform { limit: 1.0 / (num_features as f64).sqrt() };
        Ok(CausalNorm {
            weight: init.param("weight", [num_logits, num_features], fill),
            running_mean: Buffer::new(Tensor::zeros([num_features], init.device())),
            scale: self.scale,
            num_heads: self.num_heads,
            weight_eps: self.weight_eps,
            alpha: self.alpha,
            momentum: self.momentum,
        })
    }
}

/// A multi-head cosine classifier that takes the direction of the mean feature out of its logits at
/// test time.
///
/// In training `logits = scale / K sum_h u_h . w_h / (|w_h| + weight_eps)` with the unit parts
/// `u_h = x_h / |x_h|`, and a mean of the features moves along. At test time `u_h` becomes
/// `u_h - alpha cos(x_h, m_h) m_h / |m_h|`, where `m` is that mean: momentum pulls features towards
/// frequent classes along it, which would happen to any image (the total direct effect is what is
/// left). Before any batch nothing is taken away.
///
/// On an autodiff device a forward pass is one of training. The mean rides in records and
/// checkpoints as a running statistic; an average of weights averages it too.
///
/// In a detector all columns are treated alike, background's too; the paper's inference that exempts
/// background is not built.
///
/// Source: Tang et al., NeurIPS 2020, <https://arxiv.org/abs/2009.12991>. The released code adds up
/// means where this one averages them; only the direction counts.
#[derive(Module, Debug)]
pub struct CausalNorm {
    /// `[num_logits, num_features]`, not normalised.
    pub weight: Param<Tensor<2>>,
    /// Mean feature, `[num_features]`.
    pub running_mean: Buffer,
    scale: f64,
    num_heads: usize,
    weight_eps: f64,
    alpha: f64,
    momentum: f64,
}

impl CausalNorm {
    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [num_rows, num_features] = features.dims();
        assert_shape!(self.weight, [_, num_features]);
        let mut x = unit_parts(features.clone(), self.num_heads, EPSILON);
        if features.is_autodiff() {
            if num_rows > 0 {
                let mean = features.without_autodiff().mean_dim(0).squeeze_dim::<1>(0);
                let newest = 1.0 - self.momentum;
                self.running_mean.update(|old| old * self.momentum + mean * newest);
            }
        } else {
            x = self.without_common_effect(x);
        }
        let w = unit_parts(self.weight.val(), self.num_heads, self.weight_eps);
        x.matmul(w.transpose()) * (self.scale / self.num_heads as f64)
    }

    /// Unit parts without `alpha` times their share along the mean feature.
    fn without_common_effect(&self, x: Tensor<2>) -> Tensor<2> {
        let [num_rows, num_features] = x.dims();
        let [heads, width] = [self.num_heads, num_features / self.num_heads];
        let mean = self.running_mean.value().unsqueeze::<2>();
        let direction = unit_parts(mean, heads, EPSILON).reshape([1, heads, width]);
        let parts = x.reshape([num_rows, heads, width]);
        let cosine = (parts.clone() * direction.clone()).sum_dim(2);
        (parts - cosine * direction * self.alpha).reshape([num_rows, num_features])
    }
}
