//! Which image comes when: samplers for long-tailed sets.

mod config;
mod cycle;
mod order;

pub(crate) use cycle::ShuffledCycle;

pub use config::SamplerConfig;
pub use order::Sampler;
