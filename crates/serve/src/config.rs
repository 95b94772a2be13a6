//! Limits of a service.

use std::time::Duration;

use crate::error::ServeError;

/// Limits of a service. All of them bound memory or time; none can be switched off.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// Most images in one pass of the model. Default 8.
    pub max_batch: usize,
    /// How long the first image of a batch waits for others. Default 2 ms: while the model is busy,
    /// images gather anyway.
    pub max_wait: Duration,
    /// Most images that wait for the model; one more is refused with 503. Default 64.
    pub queue: usize,
    /// Most bytes of a request body; more are refused with 413. Default 16 MiB.
    pub max_body: usize,
    /// Most bytes of all request bodies held at a time; more are refused with 503. Default 256 MiB.
    pub max_bodies: usize,
    /// Most pixels of an image; more are refused with 413 before any is decoded. Default 32 million.
    pub max_pixels: usize,
    /// Most pixels of an image as the network sees it, padding included; more are refused with 413.
    /// Default 2 million, above the 1344 x 1344 of detectors with torchvision's sizes.
    pub max_network_pixels: usize,
    /// Most open connections; more wait to be accepted. Default 512.
    pub max_connections: usize,
    /// Images that are decoded, drawn or written at a time. Default: the cores of the machine.
    pub decoders: usize,
    /// How long a client may pause: within the head of a request, within its body, between two
    /// requests of a connection, while it takes an answer. Default 10 s.
    pub read_timeout: Duration,
    /// How long a body may take to arrive (408), and how long its answer may take then (504).
    /// Default 30 s.
    pub timeout: Duration,
    /// Score below which detections are left out, unless a request says otherwise. Default 0.3.
    pub min_score: f32,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            max_batch: 8,
            max_wait: Duration::from_millis(2),
            queue: 64,
            max_body: 16 << 20,
            max_bodies: 256 << 20,
            max_pixels: 32_000_000,
            max_network_pixels: 2_000_000,
            max_connections: 512,
            decoders: std::thread::available_parallelism().map_or(1, usize::from),
            read_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            min_score: 0.3,
        }
    }
}

/// Semaphores of the runtime count no further.
const MOST: usize = u32::MAX as usize;

impl ServeConfig {
    /// # Errors
    /// If a limit is outside its range.
    pub fn validate(&self) -> Result<(), ServeError> {
        let counts = [
            ("max_batch", self.max_batch),
            ("queue", self.queue),
            ("max_body", self.max_body),
            ("max_bodies", self.max_bodies),
            ("max_pixels", self.max_pixels),
            ("max_network_pixels", self.max_network_pixels),
            ("max_connections", self.max_connections),
            ("decoders", self.decoders),
        ];
        for (name, value) in counts {
            if !(1..=MOST).contains(&value) {
                return Err(ServeError::setting(name, "from 1 to 4294967295", value));
            }
        }
        if self.max_bodies < self.max_body {
            let expected = format!("at least max_body, {}", self.max_body);
            return Err(ServeError::setting("max_bodies", expected, self.max_bodies));
        }
        for (name, value) in [("read_timeout", self.read_timeout), ("timeout", self.timeout)] {
            if value.is_zero() {
                return Err(ServeError::setting(name, "above 0", format!("{value:?}")));
            }
        }
        if !(0.0..=1.0).contains(&self.min_score) {
            return Err(ServeError::setting("min_score", "from 0 to 1", self.min_score));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_range_are_named() {
        ServeConfig::default().validate().unwrap();
        let refused = |config: ServeConfig| config.validate().unwrap_err().to_string();
        let none = ServeConfig { max_batch: 0, ..Default::default() };
        assert_eq!(refused(none), "max_batch must be from 1 to 4294967295, not 0");
        let few = ServeConfig { max_bodies: 10, max_body: 11, ..Default::default() };
        assert_eq!(refused(few), "max_bodies must be at least max_body, 11, not 10");
        let never = ServeConfig { timeout: Duration::ZERO, ..Default::default() };
        assert_eq!(refused(never), "timeout must be above 0, not 0ns");
        let score = ServeConfig { min_score: f32::NAN, ..Default::default() };
        assert_eq!(refused(score), "min_score must be from 0 to 1, not NaN");
    }
}
