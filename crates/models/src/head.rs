//! The last layer, from features to logits.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::causal_norm::{CausalNorm, CausalNormConfig};
use crate::cosine::{Cosine, CosineConfig};
use crate::error::ModelError;
use crate::linear::{Linear, LinearConfig};
use crate::nearest_mean::{NearestMean, NearestMeanConfig};
use crate::scaled_linear::{ScaledLinear, ScaledLinearConfig};
use crate::tau_normalized::{TauNormalized, TauNormalizedConfig};
use crate::weight_init::WeightInit;

/// Which classifier sits on the features: `kind = "linear" | "cosine" | "causal-norm" |
/// "tau-normalized" | "scaled-linear" | "nearest-mean"`. The last three belong to second stages of training: they are
/// made from a trained classifier or from features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HeadConfig {
    /// See [`Linear`].
    Linear(LinearConfig),
    /// See [`Cosine`].
    Cosine(CosineConfig),
    /// See [`CausalNorm`].
    CausalNorm(CausalNormConfig),
    /// See [`TauNormalized`].
    TauNormalized(TauNormalizedConfig),
    /// See [`ScaledLinear`].
    ScaledLinear(ScaledLinearConfig),
    /// See [`NearestMean`].
    NearestMean(NearestMeanConfig),
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self::Linear(LinearConfig::default())
    }
}

impl HeadConfig {
    /// Makes the head.
    ///
    /// # Errors
    /// If there are no logits, a value is out of range, or the loss wants a bias (`prior_bias`) that
    /// the head does not have.
    pub fn init(
        &self,
        num_features: usize,
        num_logits: usize,
        prior_bias: Option<f32>,
        init: &WeightInit,
    ) -> Result<ClassifierHead, ModelError> {
        if num_logits == 0 {
            let (name, value) = ("num_logits", "0".to_owned());
            return Err(ModelError::InvalidValue { name, value, expected: "at least 1" });
        }
        let (features, logits, bias) = (num_features, num_logits, prior_bias);
        Ok(match self {
            Self::Linear(c) => ClassifierHead::Linear(c.init(features, logits, bias, init)?),
            Self::Cosine(c) => ClassifierHead::Cosine(c.init(features, logits, bias, init)?),
            Self::CausalNorm(c) => {
                ClassifierHead::CausalNorm(c.init(features, logits, bias, init)?)
            }
            Self::TauNormalized(c) => {
                ClassifierHead::TauNormalized(c.init(features, logits, bias, init)?)
            }
            Self::ScaledLinear(c) => {
                ClassifierHead::ScaledLinear(c.init(features, logits, bias, init)?)
            }
            Self::NearestMean(c) => match bias {
                None => ClassifierHead::NearestMean(c.init(features, logits, init)),
                Some(prior_bias) => {
                    let (head, hint) = ("nearest-mean", " by definition");
                    return Err(ModelError::BiasRequired { head, prior_bias, hint });
                }
            },
        })
    }
}

/// A classifier on pooled features.
#[allow(clippy::large_enum_variant, reason = "a program has a few of them")]
#[derive(Module, Debug)]
pub enum ClassifierHead {
    /// Weight and bias.
    Linear(Linear),
    /// Scaled cosine.
    Cosine(Cosine),
    /// Scaled cosine without the effect of the mean feature.
    CausalNorm(CausalNorm),
    /// A trained linear head with shortened rows.
    TauNormalized(TauNormalized),
    /// A trained linear head with a learned scale per class.
    ScaledLinear(ScaledLinear),
    /// Means of classes.
    NearestMean(NearestMean),
}

impl ClassifierHead {
    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Linear(head) => head.forward(features),
            Self::Cosine(head) => head.forward(features),
            Self::CausalNorm(head) => head.forward(features),
            Self::TauNormalized(head) => head.forward(features),
            Self::ScaledLinear(head) => head.forward(features),
            Self::NearestMean(head) => head.forward(features),
        }
    }

    /// The name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Cosine(_) => "cosine",
            Self::CausalNorm(_) => "causal-norm",
            Self::TauNormalized(_) => "tau-normalized",
            Self::ScaledLinear(_) => "scaled-linear",
            Self::NearestMean(_) => "nearest-mean",
        }
    }

    /// Columns of the output.
    pub fn num_logits(&self) -> usize {
        self.class_vectors().dims()[0]
    }

    /// What a feature is compared with for each logit, `[num_logits, num_features]`: the weights, or
    /// the means.
    pub fn class_vectors(&self) -> &Param<Tensor<2>> {
        match self {
            Self::Linear(head) => &head.weight,
            Self::Cosine(head) => &head.weight,
            Self::CausalNorm(head) => &head.weight,
            Self::TauNormalized(head) => &head.weight,
            Self::ScaledLinear(head) => &head.weight,
            Self::NearestMean(head) => &head.means,
        }
    }

    /// The head with the weights of this linear or tau-normalised one and exponent `tau`.
    ///
    /// # Errors
    /// If this is another head, or `tau` is negative or not finite.
    pub fn tau_normalized(&self, tau: f64) -> Result<Self, ModelError> {
        let weight = match self {
            Self::Linear(head) => &head.weight,
            Self::TauNormalized(head) => &head.weight,
            _ => return Err(ModelError::NotLinear { head: self.name() }),
        };
        Ok(Self::TauNormalized(TauNormalized::new(weight.clone(), tau)?))
    }

    /// The weights of this linear head with a scale of 1 per class, ready to be learned.
    ///
    /// # Errors
    /// If this is another head.
    pub fn scaled(&self, scale_bias: bool) -> Result<Self, ModelError> {
        match self {
            Self::Linear(head) => {
                Ok(Self::ScaledLinear(ScaledLinear::new(head.clone(), scale_bias)))
            }
            _ => Err(ModelError::NotLinear { head: self.name() }),
        }
    }
}
