//! The smaller sections of a recipe.

use burn::tensor::{Device, FloatDType, Tensor};
use longtail_types::ShotThresholds;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::recipe_file::{check_counts, refuse};

/// The float type in which layers compute while they train. Weights, losses, statistics, boxes and
/// the optimizer are in single precision whatever it is, and so are norms and evaluations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: half of the memory of feature maps, and matrix units where a GPU has them. Its range
    /// is that of single precision, so no loss scale is needed. On `flex` it works, and is slower.
    Bf16,
}

impl Precision {
    /// # Errors
    /// If the device lacks the type.
    pub(crate) fn check(self, device: &Device) -> Result<(), TrainingError> {
        if self == Self::Bf16 && !device.supports_dtype(FloatDType::BF16) {
            return Err(refuse("precision", format!("bf16: {device:?} does not have it")));
        }
        Ok(())
    }

    /// Images for layers that compute in it.
    pub(crate) fn cast(self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::F32 => images,
            Self::Bf16 => images.cast(FloatDType::BF16),
        }
    }
}

/// What happens to gradients between backward and step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradientConfig {
    /// Largest norm of all gradients together. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Batches per optimizer step, averaged. Default: 1.
    pub accumulate: usize,
}

impl Default for GradientConfig {
    fn default() -> Self {
        Self { clip_norm: None, accumulate: 1 }
    }
}

impl GradientConfig {
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        check_counts(&[("gradient.accumulate", Some(self.accumulate as u64))])?;
        match self.clip_norm {
            Some(norm) if !(norm > 0.0 && norm.is_finite()) => {
                Err(refuse("gradient.clip_norm", format!("{norm} is not a positive number")))
            }
            _ => Ok(()),
        }
    }
}

/// Exponential moving average of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// Share of the old average that each step keeps, for example 0.999.
    pub decay: f64,
}

impl EmaConfig {
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        match self.decay {
            decay if (0.0..1.0).contains(&decay) => Ok(()),
            decay => Err(refuse("ema.decay", format!("{decay} is not in [0, 1)"))),
        }
    }
}

/// Deferred re-weighting (DRW): Cao et al., NeurIPS 2019, <https://arxiv.org/abs/1906.07413>.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReweightingConfig {
    /// First epoch with weights, counted from 0; one after the last is refused. The released code uses 160 of 200.
    pub from_epoch: u64,
    /// Of the effective number `(1 - beta^n) / (1 - beta)`. Default: 0.9999.
    #[serde(default = "default_beta")]
    pub beta: f64,
}

impl ReweightingConfig {
    /// Refuses weights that a run of so many epochs never comes to; `key` is that of this section.
    pub(crate) fn check_length(self, key: &str, num_epochs: u64) -> Result<(), TrainingError> {
        let from_epoch = self.from_epoch;
        if from_epoch < num_epochs {
            return Ok(());
        }
        let problem =
            format!("{from_epoch}: the run has {num_epochs} epochs, and the first of them is 0");
        Err(refuse(&format!("{key}.from_epoch"), problem))
    }
}

fn default_beta() -> f64 {
    0.9999
}

/// When and how the test set is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Evaluates after every so many epochs, and always at the end; 0: at the end only. Default: 1.
    pub every_epochs: u64,
    /// Images per batch. Default: 250.
    pub batch_size: usize,
    /// Bounds of many, medium and few training images. Default: more than 100, fewer than 20.
    pub shots: ShotThresholds,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { every_epochs: 1, batch_size: 250, shots: ShotThresholds::default() }
    }
}

/// What changes how a run is carried out, but not what it computes (`threads` apart: sums on the
/// CPU may be rounded differently).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Threads of the CPU backends. Default: all cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Threads that load images. Default: 2.
    pub workers: usize,
    /// Reads the loss back, and logs it, after every so many steps. Default: 10.
    pub log_every: u64,
    /// Saves a checkpoint after every so many steps; 0: never for that reason. One is saved after
    /// every evaluation, and in classification after every epoch. Default: 200.
    pub checkpoint_every: u64,
    /// Also writes what goes to `metrics.jsonl` into an event file that TensorBoard reads, a new one
    /// at every start and resumption. Default: false.
    pub tensorboard: bool,
    /// With several devices: compares their weights after every so many steps, and stops if they
    /// differ; 0: never. Default: 200.
    pub replica_check_every: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            threads: None,
            workers: 2,
            log_every: 10,
            checkpoint_every: 200,
            tensorboard: false,
            replica_check_every: 200,
        }
    }
}

impl RunConfig {
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        check_counts(&[
            ("run.log_every", Some(self.log_every)),
            ("run.threads", self.threads.map(|threads| threads as u64)),
        ])
    }
}
