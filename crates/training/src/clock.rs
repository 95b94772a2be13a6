//! Speed and time left of a run.

use std::time::{Duration, Instant};

/// Time spent in training, without evaluation and saving.
pub(crate) struct Clock {
    running_since: Instant,
    spent: Duration,
    first_step: u64,
    pub(crate) images: u64,
    last_point: (Duration, u64),
}

impl Clock {
    pub(crate) fn new(first_step: u64) -> Self {
        let last_point = (Duration::ZERO, 0);
        let running_since = Instant::now();
        Self { running_since, spent: Duration::ZERO, first_step, images: 0, last_point }
    }

    pub(crate) fn pause(&mut self) {
        self.spent += self.running_since.elapsed();
        self.running_since = Instant::now();
    }

    pub(crate) fn go_on(&mut self) {
        self.running_since = Instant::now();
    }

    fn elapsed(&self) -> Duration {
        self.spent + self.running_since.elapsed()
    }

    /// Speed since it was last asked for.
    pub(crate) fn images_per_second(&mut self) -> f64 {
        let (elapsed, images) = (self.elapsed(), self.images);
        let (before, images_before) = self.last_point;
        self.last_point = (elapsed, images);
        (images - images_before) as f64 / (elapsed - before).as_secs_f64().max(1e-9)
    }

    pub(crate) fn left(&self, step: u64, num_steps: u64) -> Duration {
        let per_step = self.elapsed().as_secs_f64() / (step - self.first_step).max(1) as f64;
        Duration::from_secs_f64(per_step * (num_steps - step) as f64)
    }
}
