//! Tau-normalisation: shrinks the long weight rows of frequent classes after training.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::cosine::row_length;
use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// Configuration of [`TauNormalized`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TauNormalizedConfig {
    /// 0 leaves the weights alone, 1 makes all rows equally long. The paper tries 0, 0.1, ..., 2 on
    /// validation images. Default: 1.
    pub tau: f64,
}

impl Default for TauNormalizedConfig {
    fn default() -> Self {
        Self { tau: 1.0 }
    }
}

impl TauNormalizedConfig {
    /// Makes a head to load weights into; PyTorch's uniform first weights.
    ///
    /// # Errors
    /// If `tau` is negative or not finite, or there is a prior bias: this head has none.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<TauNormalized, ModelError> {
        if let Some(prior_bias) = prior_bias {
            let head = "tau-normalized";
            return Err(ModelError::BiasRequired { head, prior_bias, hint: " by definition" });
        }
        let fill = Fill::Uniform { limit: 1.0 / (num_features as f64).sqrt() };
        TauNormalized::new(init.param("weight", [num_logits, num_features], fill), self.tau)
    }
}

/// `logits_j = w_j / |w_j|^tau . x`; the bias of the trained head is discarded.
///
/// Source: Kang et al., <https://arxiv.org/abs/1910.09217>. At `tau = 0` this is the trained head
/// only if that had no bias. Poor on detectors, where it also rescales the background.
#[derive(Module, Debug)]
pub struct TauNormalized {
    /// `[num_logits, num_features]`, as trained.
    pub weight: Param<Tensor<2>>,
    tau: f64,
}

impl TauNormalized {
    /// Takes over trained weights `[num_logits, num_features]`.
    ///
    /// # Errors
    /// If `tau` is negative or not finite.
    pub fn new(weight: Param<Tensor<2>>, tau: f64) -> Result<Self, ModelError> {
        if tau.is_finite() && tau >= 0.0 {
            return Ok(Self { weight, tau });
        }
        let (value, expected) = (tau.to_string(), "finite and at least 0");
        Err(ModelError::InvalidValue { name: "head.tau", value, expected })
    }

    /// The exponent.
    pub fn tau(&self) -> f64 {
        self.tau
    }

    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let weight = self.weight.val();
        let factor = row_length(weight.clone()).powf_scalar(-self.tau);
        features.matmul((weight * factor).transpose())
    }
}
