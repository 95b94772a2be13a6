//! Milliseconds by stage.

use std::time::Instant;

/// The row of all stages together.
pub(super) const WHOLE: &str = "whole";

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
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { stages: Stages::default(), last: Instant::now() }
    }

    pub(super) fn stage(&mut self, name: &str) {
        let now = Instant::now();
        self.stages.add(name, (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
    }

    pub(super) fn finish(self) -> Stages {
        self.stages
    }
}

/// The steps of one side.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Stages>);

impl Samples {
    pub(super) fn push(&mut self, mut stages: Stages) {
        let whole = stages.iter().map(|(_, ms)| ms).sum();
        stages.add(WHOLE, whole);
        self.0.push(stages);
    }

    /// The median of each stage, and of the whole.
    pub(super) fn medians(&self) -> Stages {
        let mut medians = Stages::default();
        for (stage, _) in self.0.first().into_iter().flat_map(Stages::iter) {
            let mut times: Vec<f64> = self.0.iter().map(|stages| stages.get(stage)).collect();
            times.sort_by(f64::total_cmp);
            medians.add(stage, times[times.len() / 2]);
        }
        medians
    }
}
