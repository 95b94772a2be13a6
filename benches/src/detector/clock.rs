//! Milliseconds by stage.

use std::time::Instant;

use anyhow::{Context, Result};
use longtail::burn::tensor::Device;

use crate::summary::Summary;

/// The row of all stages together.
pub(crate) const WHOLE: &str = "whole";

/// Stages and their milliseconds, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Stages(Vec<(String, f64)>);

impl Stages {
    pub(super) fn add(&mut self, stage: &str, ms: f64) {
        match self.0.iter_mut().find(|(known, _)| known == stage) {
            Some((_, sum)) => *sum += ms,
            None => self.0.push((stage.to_owned(), ms)),
        }
    }

    pub(super) fn get(&self, stage: &str) -> f64 {
        self.0.iter().find(|(known, _)| known == stage).map_or(f64::NAN, |(_, ms)| *ms)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, f64)> {
        self.0.iter()
    }
}

/// Gives the time since the last stage to a stage.
#[derive(Debug)]
pub(super) struct Clock {
    stages: Stages,
    last: Instant,
    device: Device,
}

impl Clock {
    pub(super) fn start(device: &Device) -> Result<Self> {
        device.sync()?;
        Ok(Self { stages: Stages::default(), last: Instant::now(), device: device.clone() })
    }

    /// A stage ends when the device has done it.
    pub(super) fn stage(&mut self, name: &str) -> Result<()> {
        self.device.sync()?;
        let now = Instant::now();
        self.stages.add(name, (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
        Ok(())
    }

    pub(super) fn finish(self) -> Stages {
        self.stages
    }
}

/// The steps of one side, the first one being cold.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Stages>);

impl Samples {
    pub(super) fn push(&mut self, mut stages: Stages) {
        let whole = stages.iter().map(|(_, ms)| ms).sum();
        stages.add(WHOLE, whole);
        self.0.push(stages);
    }

    /// Names of the stages, the whole last.
    pub(super) fn stages(&self) -> Vec<String> {
        let first = self.0.first().into_iter();
        first.flat_map(Stages::iter).map(|(stage, _)| stage.clone()).collect()
    }

    /// The times of a stage.
    pub(super) fn summary(&self, stage: &str) -> Result<Summary> {
        let times: Vec<f64> = self.0.iter().map(|stages| stages.get(stage)).collect();
        let [cold, warm @ ..] = times.as_slice() else { anyhow::bail!("no step was timed") };
        Summary::new(*cold, warm.to_vec()).context("no step was timed")
    }
}
