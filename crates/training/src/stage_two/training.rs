//! How the classifier of a second stage is trained, whatever the method.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::TrainingError;
use crate::optimizer_config::{DecayedParameters, OptimizerConfig};
use crate::recipe_file::{check_counts, refuse};
use crate::schedule::ScheduleConfig;

/// Where the features of a second stage come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FeatureSource {
    /// The backbone sees each training image once before the stage begins, or `passes` times, each
    /// time augmented anew; epochs take the passes in turn. They lie in the memory of the device:
    /// images times passes times width times 4 bytes.
    Cached {
        /// How often each image is augmented; 0 takes it as a test image, once. Default: 1.
        #[serde(default = "one_pass")]
        passes: u64,
    },
    /// The backbone sees the images of every batch, freshly augmented, as in the released codes.
    Live {},
}

fn one_pass() -> u64 {
    1
}

impl Default for FeatureSource {
    fn default() -> Self {
        Self::Cached { passes: one_pass() }
    }
}

/// What the batch norms of the frozen backbone do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormMode {
    /// They use the statistics of the first stage, as a frozen layer should.
    #[default]
    Eval,
    /// They use those of the batch, and their running statistics drift with the sampler of this
    /// stage: what the released codes do. Needs live features.
    Train,
}

/// Length, batches and optimizer of a second stage. Each method has its own defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTraining {
    /// Rows per batch.
    pub batch_size: usize,
    /// Length in epochs of `images / batch_size` steps, rounded down; either this or `iterations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Length in optimizer steps; either this or `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// SGD or AdamW, and the base learning rate.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
    /// Cached or live.
    pub features: FeatureSource,
    /// In evaluation mode or in training mode.
    pub batch_norm: BatchNormMode,
}

/// What a recipe states of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    batch_size: Option<usize>,
    epochs: Option<u64>,
    iterations: Option<u64>,
    optimizer: Option<OptimizerConfig>,
    schedule: Option<ScheduleConfig>,
    features: Option<FeatureSource>,
    batch_norm: Option<BatchNormMode>,
}

impl StageTraining {
    fn of(epochs: Option<u64>, iterations: Option<u64>, lr: f64) -> Self {
        let decayed = DecayedParameters::All;
        let optimizer = OptimizerConfig::Sgd {
            lr,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            decayed,
        };
        Self {
            batch_size: 512,
            epochs,
            iterations,
            optimizer,
            schedule: ScheduleConfig::default(),
            features: FeatureSource::default(),
            batch_norm: BatchNormMode::default(),
        }
    }

    /// The released second stages of Balanced Softmax and Meta Sampler on long-tailed CIFAR: 2,000
    /// steps of 512 rows, SGD with 0.1, momentum 0.9 and weight decay 5e-4, cosine.
    pub fn balanced_softmax() -> Self {
        Self::of(None, Some(2000), 0.1)
    }

    /// The released cRT on ImageNet-LT: 10 epochs of 512 rows, SGD with 0.2, momentum 0.9 and weight
    /// decay 5e-4, cosine.
    pub fn crt() -> Self {
        Self::of(Some(10), None, 0.2)
    }

    /// The released LWS on ImageNet-LT: as cRT, 5 epochs.
    pub fn lws() -> Self {
        Self::of(Some(5), None, 0.2)
    }

    /// Reads what a recipe states, over the defaults of a method.
    pub(super) fn over<'de, D: Deserializer<'de>>(
        defaults: Self,
        written: D,
    ) -> Result<Self, D::Error> {
        let written = Written::deserialize(written)?;
        let has_length = written.epochs.is_some() || written.iterations.is_some();
        let [epochs, iterations] = match has_length {
            true => [written.epochs, written.iterations],
            false => [defaults.epochs, defaults.iterations],
        };
        Ok(Self {
            batch_size: written.batch_size.unwrap_or(defaults.batch_size),
            epochs,
            iterations,
            optimizer: written.optimizer.unwrap_or(defaults.optimizer),
            schedule: written.schedule.unwrap_or(defaults.schedule),
            features: written.features.unwrap_or(defaults.features),
            batch_norm: written.batch_norm.unwrap_or(defaults.batch_norm),
        })
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        if self.epochs.is_some() == self.iterations.is_some() {
            let problem = "give either this or `stage_two.training.iterations`";
            return Err(refuse("stage_two.training.epochs", problem));
        }
        check_counts(&[
            ("stage_two.training.epochs", self.epochs),
            ("stage_two.training.iterations", self.iterations),
            ("stage_two.training.batch_size", Some(self.batch_size as u64)),
        ])?;
        if self.batch_norm == BatchNormMode::Train && self.features != (FeatureSource::Live {}) {
            let problem = "train needs `features = { kind = \"live\" }`: cached features were taken \
                           with the statistics of the first stage";
            return Err(refuse("stage_two.training.batch_norm", problem));
        }
        self.optimizer.check()?;
        self.schedule.init(self.optimizer.lr(), 1, 1)?;
        Ok(())
    }

    /// Steps of the whole stage.
    pub(super) fn num_steps(&self, steps_per_epoch: u64) -> u64 {
        self.iterations.unwrap_or_else(|| self.epochs.unwrap_or(0).saturating_mul(steps_per_epoch))
    }
}
