//! Normalised (cosine) classifiers.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// What the cosine is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CosineScale {
    /// Stays as given. 10 to 40 is usual.
    Fixed(f64),
    /// Starts as given and is trained.
    Learnable(f64),
}

impl CosineScale {
    fn value(self) -> f64 {
        match self {
            Self::Fixed(value) | Self::Learnable(value) => value,
        }
    }
}

/// First weights. The logits ignore their length, but the step size does not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CosineInit {
    /// Uniform in `±1`, rows brought to length 1 (LDAM).
    UnitUniform,
    /// Uniform in `±sqrt(6 / (num_features + num_logits))` (CBD).
    Glorot,
    /// Normal with standard deviation 0.01 (mmdetection).
    Normal,
    /// Uniform in `±1 / sqrt(num_features)` (OLTR and followers).
    FanIn,
}

/// Configuration of [`Cosine`]. The named constructors are the variants found in released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CosineConfig {
    /// Factor of the cosine. Default: fixed at 20, mmdetection's temperature.
    pub scale: CosineScale,
    /// Added to the length of a feature. Default: 1e-6.
    pub eps: f64,
    /// Added to the length of a weight row. Default: 1e-6.
    pub weight_eps: f64,
    /// Adds a bias per logit, at first 0. Default: false.
    pub bias: bool,
    /// Multiplies by `|x| / (1 + |x|)`, so that weak features give weak logits. Default: false.
    pub squash: bool,
    /// Features and weights are cut into this many parts, each normalised apart; the mean of the
    /// parts' cosines counts. Default: 1.
    pub num_heads: usize,
    /// First weights. Default: normal, 0.01.
    pub init: CosineInit,
}

impl Default for CosineConfig {
    fn default() -> Self {
        Self::mmdetection().with_bias(false)
    }
}

impl CosineConfig {
    /// LDAM's `NormedLinear`, <https://arxiv.org/abs/1906.07413>: scale 30, which its code applies
    /// in the loss. Leave the loss's own scale at 1 with this one.
    pub fn ldam() -> Self {
        Self::exact(30.0, CosineInit::UnitUniform)
    }

    /// `CosineLayer` of Class-Balanced Distillation, <https://arxiv.org/abs/2104.05279>: scale 20.
    pub fn class_balanced_distillation() -> Self {
        Self::exact(20.0, CosineInit::Glorot)
    }

    /// mmdetection's `NormedLinear` with power 1: temperature 20, bias.
    pub fn mmdetection() -> Self {
        let base = Self::exact(20.0, CosineInit::Normal);
        Self { eps: 1e-6, weight_eps: 1e-6, bias: true, ..base }
    }

    /// OLTR's `CosNorm_Classifier`, <https://arxiv.org/abs/1904.05160>: scale 16, squashed.
    pub fn oltr() -> Self {
        Self { squash: true, ..Self::exact(16.0, CosineInit::FanIn) }
    }

    /// The `norm_linear` head of Softmax-EQL, <https://arxiv.org/abs/2210.05566>: scale 30.
    pub fn softmax_equalization() -> Self {
        Self::exact(30.0, CosineInit::Normal)
    }

    /// The multi-head classifier of Tang et al., <https://arxiv.org/abs/2009.12991>: two heads,
    /// scale 16, 1/32 added to the length of the weights.
    pub fn multi_head() -> Self {
        Self { num_heads: 2, weight_eps: 1.0 / 32.0, ..Self::exact(16.0, CosineInit::FanIn) }
    }

    /// Sets the scale.
    #[must_use]
    pub fn with_scale(mut self, scale: CosineScale) -> Self {
        self.scale = scale;
        self
    }

    /// Sets whether there is a bias.
    #[must_use]
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    fn exact(scale: f64, init: CosineInit) -> Self {
        Self {
            scale: CosineScale::Fixed(scale),
            eps: 1e-12,
            weight_eps: 1e-12,
            bias: false,
            squash: false,
            num_heads: 1,
            init,
        }
    }

    /// Makes the head. `prior_bias` is what every bias starts at, 0 without.
    ///
    /// # Errors
    /// If a value is out of range, `num_heads` does not divide `num_features`, or there is a prior
    /// bias and `bias` is false.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<Cosine, ModelError> {
        self.check(num_features)?;
        if let (Some(prior_bias), false) = (prior_bias, self.bias) {
            let hint = "; set bias = true";
            return Err(ModelError::BiasRequired { head: "cosine", prior_bias, hint });
        }
        let fan_sum = (num_features + num_logits) as f64;
        let fill = match self.init {
            CosineInit::UnitUniform => Fill::Uniform { limit: 1.0 },
            CosineInit::Glorot => Fill::Uniform { limit: (6.0 / fan_sum).sqrt() },
            CosineInit::Normal => Fill::Normal { std: 0.01 },
            CosineInit::FanIn => Fill::Uniform { limit: 1.0 / (num_features as f64).sqrt() },
        };
        let mut weight = init.values("weight", num_logits * num_features, fill);
        if self.init == CosineInit::UnitUniform {
            weight.chunks_mut(num_features.max(1)).for_each(to_unit_length);
        }
        let scale = |value: f64| init.param("scale", [1], Fill::Constant(value as f32));
        let bias = Fill::Constant(prior_bias.unwrap_or(0.0));
        Ok(Cosine {
            weight: init.param_from([num_logits, num_features], weight),
            bias: self.bias.then(|| init.param("bias", [num_logits], bias)),
            scale: match self.scale {
                CosineScale::Fixed(_) => None,
                CosineScale::Learnable(value) => Some(scale(value)),
            },
            fixed_scale: self.scale.value(),
            eps: self.eps,
            weight_eps: self.weight_eps,
            squash: self.squash,
            num_heads: self.num_heads,
        })
    }

    fn check(&self, num_features: usize) -> Result<(), ModelError> {
        let positive = |name, value: f64| {
            let fits = value.is_finite() && value > 0.0;
            let (value, expected) = (value.to_string(), "finite and above 0");
            if fits { Ok(()) } else { Err(ModelError::InvalidValue { name, value, expected }) }
        };
        positive("head.scale", self.scale.value())?;
        positive("head.eps", self.eps)?;
        positive("head.weight_eps", self.weight_eps)?;
        if self.num_heads == 0 || !num_features.is_multiple_of(self.num_heads) {
            return Err(ModelError::InvalidValue {
                name: "head.num_heads",
                value: self.num_heads.to_string(),
                expected: "a divisor of the number of features",
            });
        }
        Ok(())
    }
}

/// `logits = scale mean_h(x_h / (|x_h| + eps) . w_h / (|w_h| + weight_eps)) + bias`
///
/// `h` runs over the heads; with one head and tiny `eps` this is `scale cos(x, w)`. Squashing
/// multiplies each `x_h` by `|x_h| / (1 + |x_h|)` on top. The gradient of a feature is at right
/// angles to it, `s / |x| (I - u u^T) w`, so its length is never pushed.
#[derive(Module, Debug)]
pub struct Cosine {
    /// `[num_logits, num_features]`, not normalised.
    pub weight: Param<Tensor<2>>,
    /// `[num_logits]`
    pub bias: Option<Param<Tensor<1>>>,
    /// `[1]` if it is learned.
    pub scale: Option<Param<Tensor<1>>>,
    fixed_scale: f64,
    eps: f64,
    weight_eps: f64,
    squash: bool,
    num_heads: usize,
}

impl Cosine {
    /// A zero feature gives zero logits (plus bias) and a finite gradient.
    ///
    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [_, num_features] = features.dims();
        assert_shape!(self.weight, [_, num_features]);
        let x = self.normalise(features, self.eps, self.squash);
        let w = self.normalise(self.weight.val(), self.weight_eps, false);
        let cosines = x.matmul(w.transpose()) / self.num_heads as f64;
        let logits = match &self.scale {
            Some(scale) => cosines * scale.val().unsqueeze(),
            None => cosines * self.fixed_scale,
        };
        match &self.bias {
            Some(bias) => logits + bias.val().unsqueeze(),
            None => logits,
        }
    }

    /// Brings each head's part of each row to length 1, or to the squashed length.
    fn normalise(&self, x: Tensor<2>, eps: f64, squash: bool) -> Tensor<2> {
        if !squash {
            return unit_parts(x, self.num_heads, eps);
        }
        let [rows, width] = x.dims();
        let parts = x.reshape([rows * self.num_heads, width / self.num_heads]);
        let length = row_length(parts.clone());
        let squashed = parts / (length.clone() + eps) * (length.clone() / (length + 1.0));
        squashed.reshape([rows, width])
    }
}

/// Cuts each row into `num_heads` parts and divides each by its length plus `eps`.
pub(crate) fn unit_parts(x: Tensor<2>, num_heads: usize, eps: f64) -> Tensor<2> {
    let [rows, width] = x.dims();
    let parts = x.reshape([rows * num_heads, width / num_heads]);
    let length = row_length(parts.clone());
    (parts / (length + eps)).reshape([rows, width])
}

/// Length of each row, at least 1e-12 so that its gradient is finite: `[rows, width]` to `[rows, 1]`.
pub(crate) fn row_length(x: Tensor<2>) -> Tensor<2> {
    (x.clone() * x).sum_dim(1).clamp_min(1e-24).sqrt()
}

fn to_unit_length(row: &mut [f32]) {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|v| *v /= length);
}
