//! SGD and AdamW as a recipe states them.

use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// Which parameters weight decay pulls to 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayedParameters {
    /// All of them, as plain `torch.optim` does and the published long-tail recipes assume.
    #[default]
    All,
    /// Those with two or more dimensions: neither normalisation nor biases.
    Weights,
}

impl DecayedParameters {
    /// Whether a parameter with `D` dimensions is among them.
    pub(crate) fn includes<const D: usize>(self) -> bool {
        self == Self::All || D > 1
    }
}

/// The optimizer as a recipe states it; `lr` is the base learning rate of the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent, as `torch.optim.SGD` (dampening 0).
    Sgd {
        /// Base learning rate.
        lr: f64,
        /// Share of the last update that is kept. Default: 0.9.
        #[serde(default = "default_momentum")]
        momentum: f64,
        /// Nesterov's form of momentum. Default: false.
        #[serde(default)]
        nesterov: bool,
        /// Added to the gradient as `weight_decay * parameter`. Default: 0.
        #[serde(default)]
        weight_decay: f64,
        /// What weight decay acts on. Default: all.
        #[serde(default)]
        decayed: DecayedParameters,
    },
    /// Adam with decoupled weight decay, as `torch.optim.AdamW`.
    Adamw {
        /// Base learning rate.
        lr: f64,
        /// Decay of the first moment. Default: 0.9.
        #[serde(default = "default_beta_1")]
        beta_1: f64,
        /// Decay of the second moment. Default: 0.999.
        #[serde(default = "default_beta_2")]
        beta_2: f64,
        /// Added to the root of the second moment. Default: 1e-8.
        #[serde(default = "default_epsilon")]
        epsilon: f64,
        /// Parameters shrink by `lr * weight_decay` per step. Default: 0.01.
        #[serde(default = "default_weight_decay")]
        weight_decay: f64,
        /// What weight decay acts on. Default: all.
        #[serde(default)]
        decayed: DecayedParameters,
    },
}

fn default_momentum() -> f64 {
    0.9
}

fn default_beta_1() -> f64 {
    0.9
}

fn default_beta_2() -> f64 {
    0.999
}

fn default_epsilon() -> f64 {
    1e-8
}

fn default_weight_decay() -> f64 {
    0.01
}

impl OptimizerConfig {
    /// Plain SGD: no momentum, no weight decay.
    pub fn sgd(lr: f64) -> Self {
        let decayed = DecayedParameters::All;
        Self::Sgd { lr, momentum: 0.0, nesterov: false, weight_decay: 0.0, decayed }
    }

    /// The base learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adamw { lr, .. } => lr,
        }
    }

    /// Checks every number.
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn check(&self) -> Result<(), TrainingError> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let fraction = |value: f64| (0.0..1.0).contains(&value);
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let checks: &[(&str, f64, bool, &str)] = match *self {
            Self::Sgd { lr, momentum, nesterov, weight_decay, .. } => &[
                ("lr", lr, positive(lr), "a positive number"),
                ("momentum", momentum, fraction(momentum), "in [0, 1)"),
                ("momentum", momentum, !nesterov || momentum > 0.0, "positive, as nesterov needs"),
                ("weight_decay", weight_decay, not_negative(weight_decay), "at least 0"),
            ],
            Self::Adamw { lr, beta_1, beta_2, epsilon, weight_decay, .. } => &[
                ("lr", lr, positive(lr), "a positive number"),
                ("beta_1", beta_1, fraction(beta_1), "in [0, 1)"),
                ("beta_2", beta_2, fraction(beta_2), "in [0, 1)"),
                ("epsilon", epsilon, positive(epsilon), "a positive number"),
                ("weight_decay", weight_decay, not_negative(weight_decay), "at least 0"),
            ],
        };
        match checks.iter().find(|(_, _, is_right, _)| !is_right) {
            None => Ok(()),
            Some((key, value, _, wanted)) => Err(TrainingError::RecipeValue {
                key: format!("optimizer.{key}"),
                problem: format!("{value} is not {wanted}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_refused_with_key_and_value() {
        for (config, expected) in [
            ("kind = 'sgd'\nlr = -1.0", "optimizer.lr"),
            ("kind = 'sgd'\nlr = 0.1\nmomentum = 1.5", "1.5 is not in [0, 1)"),
            ("kind = 'sgd'\nlr = 0.1\nmomentum = 0.0\nnesterov = true", "nesterov"),
            ("kind = 'adamw'\nlr = 0.1\nepsilon = 0.0", "optimizer.epsilon"),
        ] {
            let config: OptimizerConfig = toml::from_str(config).unwrap();
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
