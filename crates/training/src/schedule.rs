//! The learning rate of every iteration: warm-up, then a decay.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// A length of training: `{ epochs = 5 }` or `{ iterations = 200 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// Passes over the training set; fractions are allowed.
    Epochs(f64),
    /// Optimizer steps.
    Iterations(u64),
}

impl Span {
    /// The length in optimizer steps, rounded down.
    pub fn iterations(self, iterations_per_epoch: u64) -> u64 {
        match self {
            Self::Epochs(epochs) => (epochs * iterations_per_epoch as f64).floor().max(0.0) as u64,
            Self::Iterations(iterations) => iterations,
        }
    }
}

/// How the learning rate falls: `"constant"`, `"cosine"` or `{ multi-step = { .. } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Stays at the base learning rate.
    Constant,
    /// Half a cosine wave from 1 to 0 over the whole training, warm-up included.
    Cosine,
    /// Multiplied by `factor` at every milestone.
    MultiStep(MultiStep),
}

/// Drops of the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiStep {
    /// Where the drops are, counted from the start of training.
    pub milestones: Vec<Span>,
    /// What each drop multiplies by.
    pub factor: f64,
}

/// The schedule as a recipe states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// How long the learning rate rises linearly. Default: no warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// The fraction of the base learning rate from which it rises. Default: 0.
    #[serde(default)]
    pub warmup_start: f64,
    /// What follows. Default: cosine.
    #[serde(default = "ScheduleConfig::cosine")]
    pub decay: Decay,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { warmup: None, warmup_start: 0.0, decay: Decay::Cosine }
    }
}

impl ScheduleConfig {
    fn cosine() -> Decay {
        Decay::Cosine
    }

    /// The schedule of a training of `iterations` steps.
    /// # Errors
    /// If a factor is not a finite number of at least 0, or a milestone lies before the one in
    /// front of it.
    pub fn init(
        &self,
        base: f64,
        iterations: u64,
        iterations_per_epoch: u64,
    ) -> Result<Schedule, TrainingError> {
        let refuse = |key: &str, value: f64, wanted: &str| {
            Err(TrainingError::RecipeValue {
                key: format!("schedule.{key}"),
                problem: format!("{value} is not {wanted}"),
            })
        };
        if !(0.0..=1.0).contains(&self.warmup_start) {
            return refuse("warmup_start", self.warmup_start, "between 0 and 1");
        }
        let decay = match &self.decay {
            Decay::Constant => Curve::Constant,
            Decay::Cosine => Curve::Cosine,
            Decay::MultiStep(MultiStep { milestones, factor }) => {
                if !(factor.is_finite() && *factor >= 0.0) {
                    return refuse("decay.multi-step.factor", *factor, "a factor of at least 0");
                }
                let milestones: Vec<u64> =
                    milestones.iter().map(|span| span.iterations(iterations_per_epoch)).collect();
                if let Some(pair) = milestones.windows(2).find(|pair| pair[0] > pair[1]) {
                    let wanted = format!("after the milestone before it (iteration {})", pair[0]);
                    return refuse("decay.multi-step.milestones", pair[1] as f64, &wanted);
                }
                Curve::MultiStep { milestones, factor: *factor }
            }
        };
        let warmup = self.warmup.map_or(0, |span| span.iterations(iterations_per_epoch));
        Ok(Schedule { base, iterations, warmup, warmup_start: self.warmup_start, decay })
    }
}

/// Learning rate as a function of the iteration.
///
/// `lr(i) = base * min(1, s + (1 - s) (i + 1) / warmup) * decay(i)`, where `s` is `warmup_start`;
/// `decay` is 1, `(1 + cos(pi i / iterations)) / 2`, or `factor` to the power of the milestones
/// that are not after `i`. A function of `i` alone, so nothing needs saving.
#[derive(Clone, Debug)]
pub struct Schedule {
    base: f64,
    iterations: u64,
    warmup: u64,
    warmup_start: f64,
    decay: Curve,
}

#[derive(Clone, Debug)]
enum Curve {
    Constant,
    Cosine,
    MultiStep { milestones: Vec<u64>, factor: f64 },
}

impl Schedule {
    /// The learning rate of iteration `i`, counted from 0.
    pub fn lr(&self, i: u64) -> f64 {
        let rise = match self.warmup {
            0 => 1.0,
            warmup => {
                let passed = (i + 1) as f64 / warmup as f64;
                (self.warmup_start + (1.0 - self.warmup_start) * passed).min(1.0)
            }
        };
        let fall = match &self.decay {
            Curve::Constant => 1.0,
            Curve::Cosine => 0.5 * (1.0 + (PI * i as f64 / self.iterations.max(1) as f64).cos()),
            Curve::MultiStep { milestones, factor } => {
                factor.powi(milestones.iter().filter(|&&milestone| milestone <= i).count() as i32)
            }
        };
        self.base * rise * fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_rates(schedule: &Schedule, expected: &[(u64, f64)]) {
        for &(i, rate) in expected {
            let actual = schedule.lr(i);
            assert!((actual - rate).abs() < 1e-12, "iteration {i}: {actual}, expected {rate}");
        }
    }

    #[test]
    fn cosine_with_warmup_equals_lambda_lr() {
        let config = ScheduleConfig { warmup: Some(Span::Iterations(200)), ..Default::default() };
        let schedule = config.init(0.1, 1440, 96).unwrap();
        // Printed by xtask/reference/training.py (torch.optim.lr_scheduler.LambdaLR).
        let expected = [
            (0, 0.0005),
            (1, 0.0009999988100886758),
            (100, 0.04990147417977832),
            (199, 0.09536138197358746),
            (200, 0.09531538935183251),
            (720, 0.05),
            (1439, 1.189911324084303e-07),
        ];
        assert_rates(&schedule, &expected);
    }

    #[test]
    fn multi_step_equals_multi_step_lr() {
        let decay = Decay::MultiStep(MultiStep {
            milestones: vec![Span::Iterations(30), Span::Epochs(8.0)],
            factor: 0.1,
        });
        let config = ScheduleConfig { decay, ..Default::default() };
        let schedule = config.init(0.1, 100, 10).unwrap();
        // Printed by xtask/reference/training.py (torch.optim.lr_scheduler.MultiStepLR).
        let expected = [(0, 0.1), (29, 0.1), (30, 0.01), (79, 0.01), (80, 0.001), (99, 0.001)];
        assert_rates(&schedule, &expected);
    }

    #[test]
    fn warmup_rises_from_its_start_to_the_base() {
        let config = ScheduleConfig {
            warmup: Some(Span::Epochs(2.0)),
            warmup_start: 0.5,
            decay: Decay::Constant,
        };
        let schedule = config.init(0.2, 100, 10).unwrap();
        assert_rates(&schedule, &[(0, 0.105), (9, 0.15), (19, 0.2), (20, 0.2), (99, 0.2)]);
    }

    #[test]
    fn bad_numbers_are_refused_with_key_and_value() {
        let config = ScheduleConfig { warmup_start: 1.5, ..Default::default() };
        let message = config.init(0.1, 10, 10).unwrap_err().to_string();
        assert!(message.contains("schedule.warmup_start") && message.contains("1.5"), "{message}");

        let milestones = vec![Span::Iterations(20), Span::Iterations(10)];
        let decay = Decay::MultiStep(MultiStep { milestones, factor: 0.1 });
        let config = ScheduleConfig { decay, ..Default::default() };
        let message = config.init(0.1, 10, 10).unwrap_err().to_string();
        assert!(message.contains("milestones") && message.contains("10 is not"), "{message}");
    }
}
