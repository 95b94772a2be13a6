//! The plain linear classifier.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use longtail_kernels::{linear, linear_relu};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// Configuration of [`Linear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearConfig {
    /// Adds a bias per logit. Default: true.
    pub bias: bool,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { bias: true }
    }
}

impl LinearConfig {
    /// Makes the head: weight and bias uniform in `±1 / sqrt(num_features)` as in PyTorch, or every
    /// bias at `prior_bias`, which sigmoid losses want (`-ln((1 - p) / p)`).
    ///
    /// # Errors
    /// If there is a prior bias and `bias` is false.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<Linear, ModelError> {
        let fill = Fill::Uniform { limit: 1.0 / (num_features as f64).sqrt() };
        if let (Some(prior_bias), false) = (prior_bias, self.bias) {
            let hint = "; set bias = true";
            return Err(ModelError::BiasRequired { head: "linear", prior_bias, hint });
        }
        let bias_fill = prior_bias.map_or(fill, Fill::Constant);
        Ok(Linear {
            weight: init.param("weight", [num_logits, num_features], fill),
            bias: self.bias.then(|| init.param("bias", [num_logits], bias_fill)),
        })
    }
}

/// `logits = features weight^T + bias`
#[derive(Module, Debug)]
pub struct Linear {
    /// `[num_logits, num_features]`, as in PyTorch.
    pub weight: Param<Tensor<2>>,
    /// `[num_logits]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        linear(features, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// [`forward`](Self::forward) and a ReLU in one pass.
    pub(crate) fn forward_relu(&self, features: Tensor<2>) -> Tensor<2> {
        linear_relu(features, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}
