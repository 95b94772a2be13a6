//! Which normalisation follows a convolution.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::batch_norm::{BatchNorm2d, BatchNorm2dConfig};
use crate::error::ModelError;
use crate::frozen_batch_norm::FrozenBatchNorm2d;
use crate::group_norm::GroupNorm;
use crate::weight_init::WeightInit;

/// Which statistics a batch norm uses while it trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormStatistics {
    /// Those of the batch; the running ones follow. Wants many images per batch.
    #[default]
    Batch,
    /// The running ones, which stay as they are; weight and bias train.
    Running,
}

/// Which normalisation, and its settings: `kind = "batch" | "frozen" | "group"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NormConfig {
    /// [`BatchNorm2d`]
    Batch {
        /// Added to the variance. Default: 1e-5, PyTorch's.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
        /// Which statistics are used in training. Default: the batch's.
        #[serde(default)]
        statistics: NormStatistics,
    },
    /// [`FrozenBatchNorm2d`]
    Frozen {
        /// Added to the variance. Default: 1e-5, as for ImageNet weights. torchvision's first COCO
        /// detectors want 0.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
    },
    /// [`GroupNorm`]
    Group {
        /// Groups of channels. Default: 32, the paper's.
        #[serde(default = "default_groups")]
        groups: usize,
        /// Added to the variance. Default: 1e-5, PyTorch's.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
    },
}

fn default_epsilon() -> f64 {
    1e-5
}

fn default_groups() -> usize {
    32
}

impl Default for NormConfig {
    fn default() -> Self {
        Self::batch()
    }
}

impl NormConfig {
    /// Batch norm by the batch's statistics.
    pub fn batch() -> Self {
        Self::Batch { epsilon: default_epsilon(), statistics: NormStatistics::Batch }
    }

    /// Batch norm by the running statistics; weight and bias train.
    pub fn running() -> Self {
        Self::Batch { epsilon: default_epsilon(), statistics: NormStatistics::Running }
    }

    /// Frozen batch norm.
    pub fn frozen() -> Self {
        Self::Frozen { epsilon: default_epsilon() }
    }

    /// Group norm of so many groups.
    pub fn group(groups: usize) -> Self {
        Self::Group { groups, epsilon: default_epsilon() }
    }

    /// Sets what is added to the variance.
    #[must_use]
    pub fn with_epsilon(mut self, value: f64) -> Self {
        let (Self::Batch { epsilon, .. } | Self::Frozen { epsilon } | Self::Group { epsilon, .. }) =
            &mut self;
        *epsilon = value;
        self
    }

    /// Makes the layer for `num_features` channels.
    ///
    /// # Errors
    /// If epsilon is negative or not finite, or the groups do not divide the channels.
    pub fn init(&self, num_features: usize, init: &WeightInit) -> Result<Norm, ModelError> {
        let (Self::Batch { epsilon, .. } | Self::Frozen { epsilon } | Self::Group { epsilon, .. }) =
            *self;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            let (name, value) = ("norm.epsilon", epsilon.to_string());
            return Err(ModelError::InvalidValue {
                name,
                value,
                expected: "finite and at least 0",
            });
        }
        Ok(match *self {
            Self::Batch { statistics, .. } => {
                let config = BatchNorm2dConfig::new(num_features).with_epsilon(epsilon);
                Norm::Batch(config.with_statistics(statistics).init(init))
            }
            Self::Frozen { .. } => {
                Norm::Frozen(FrozenBatchNorm2d::new(num_features, epsilon, init))
            }
            Self::Group { groups, .. } => {
                Norm::Group(GroupNorm::new(num_features, groups, epsilon, init)?)
            }
        })
    }
}

/// A normalisation layer of any kind.
#[allow(clippy::large_enum_variant, reason = "the norms of a network are of one kind")]
#[derive(Module, Debug)]
pub enum Norm {
    /// By the batch, or by running statistics.
    Batch(BatchNorm2d),
    /// By fixed numbers.
    Frozen(FrozenBatchNorm2d),
    /// By groups of channels of each image.
    Group(GroupNorm),
}

impl Norm {
    /// # Shapes
    /// - x: `[batch, num_features, height, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Batch(norm) => norm.forward(x),
            Self::Frozen(norm) => norm.forward(x),
            Self::Group(norm) => norm.forward(x),
        }
    }

    /// Scale and shift of every channel where the layer is nothing else: with fixed numbers, or
    /// with running statistics while nothing is trained.
    pub(crate) fn fixed_map(&self, is_autodiff: bool) -> Option<(Tensor<1>, Tensor<1>)> {
        match self {
            Self::Batch(norm) if !is_autodiff => Some(norm.running_map()),
            Self::Frozen(norm) => Some(norm.map()),
            Self::Batch(_) | Self::Group(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_strict() {
        let parse = |json: &str| serde_json::from_str::<NormConfig>(json);
        assert_eq!(parse(r#"{"kind": "batch"}"#).unwrap(), NormConfig::default());
        assert_eq!(parse(r#"{"kind": "group"}"#).unwrap(), NormConfig::group(32));
        let frozen = parse(r#"{"kind": "frozen", "epsilon": 0.0}"#).unwrap();
        assert_eq!(frozen, NormConfig::frozen().with_epsilon(0.0));
        let running = parse(r#"{"kind": "batch", "statistics": "running"}"#).unwrap();
        assert_eq!(running, NormConfig::running());
        let message = parse(r#"{"kind": "frozen", "groups": 2}"#).unwrap_err().to_string();
        assert!(message.contains("groups"), "{message}");
        for config in [NormConfig::running(), NormConfig::frozen(), NormConfig::group(8)] {
            assert_eq!(parse(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn a_negative_epsilon_is_refused() {
        let device = longtail_testing::device();
        let config = NormConfig::frozen().with_epsilon(-1.0);
        let message = config.init(4, &WeightInit::new(0, &device)).unwrap_err().to_string();
        assert_eq!(message, "norm.epsilon = -1, but it must be finite and at least 0");
    }
}
