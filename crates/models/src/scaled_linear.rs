//! A trained linear classifier whose logits are rescaled class by class: LWS.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use longtail_kernels::linear;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::linear::{Linear, LinearConfig};
use crate::weight_init::{Fill, WeightInit};

/// Configuration of [`ScaledLinear`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaledLinearConfig {
    /// Whether the linear layer has a bias. Default: true.
    pub bias: bool,
    /// Whether the scale multiplies the bias too. Default: true, as in the authors' classification
    /// code; their detection code leaves the bias alone.
    pub scale_bias: bool,
}

impl Default for ScaledLinearConfig {
    fn default() -> Self {
        Self { bias: true, scale_bias: true }
    }
}

impl ScaledLinearConfig {
    /// Makes a head to load weights into: those of [`Linear`], every scale at 1.
    ///
    /// # Errors
    /// If there is a prior bias and `bias` is false.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<ScaledLinear, ModelError> {
        let config = LinearConfig { bias: self.bias };
        let layer = config.init(num_features, num_logits, prior_bias, init)?;
        let scale = init.param("scale", [num_logits], Fill::Constant(1.0));
        Ok(ScaledLinear::with_scale(layer, scale, self.scale_bias))
    }
}

/// Learnable weight scaling: `logits_j = s_j (w_j . x + b_j)`, or `s_j w_j . x + b_j`.
///
/// Only `s` is trained: weight and bias never ask for a gradient, that of a scale is
/// `dL/ds_j = sum_r g_rj (w_j . x_r + b_j)`.
/// Source: Kang et al., ICLR 2020, <https://arxiv.org/abs/1910.09217>.
#[derive(Module, Debug)]
pub struct ScaledLinear {
    /// `[num_logits, num_features]`, as trained before.
    pub weight: Param<Tensor<2>>,
    /// `[num_logits]`
    pub bias: Option<Param<Tensor<1>>>,
    /// `[num_logits]`, 1 at first.
    pub scale: Param<Tensor<1>>,
    scale_bias: bool,
}

impl ScaledLinear {
    /// Takes over a trained layer, with every scale at 1.
    pub fn new(layer: Linear, scale_bias: bool) -> Self {
        let weight = layer.weight.val();
        let scale = Tensor::ones([weight.dims()[0]], &weight.device());
        Self::with_scale(layer, Param::from_tensor(scale), scale_bias)
    }

    fn with_scale(layer: Linear, scale: Param<Tensor<1>>, scale_bias: bool) -> Self {
        let Linear { weight, bias } = layer;
        let weight = weight.set_require_grad(false);
        let bias = bias.map(|bias| bias.set_require_grad(false));
        Self { weight, bias, scale, scale_bias }
    }

    /// How it is configured.
    pub fn config(&self) -> ScaledLinearConfig {
        ScaledLinearConfig { bias: self.bias.is_some(), scale_bias: self.scale_bias }
    }

    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let scale = self.scale.val().unsqueeze();
        let bias = self.bias.as_ref().map(Param::val);
        if self.scale_bias {
            return linear(features, self.weight.val(), bias) * scale;
        }
        let logits = linear(features, self.weight.val(), None) * scale;
        match bias {
            Some(bias) => logits + bias.unsqueeze(),
            None => logits,
        }
    }
}
