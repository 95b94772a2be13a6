//! Which image of a detection set comes when.

mod config;
mod order;
mod repeat_factors;

pub use config::{DetectionSamplerConfig, RepeatFrequency};
pub use order::DetectionSampler;
