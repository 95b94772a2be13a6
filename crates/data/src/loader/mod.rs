//! Batches in order, made ahead by worker threads.

mod cache;
mod config;
mod epoch;
mod maker;
mod prefetch;
mod queue;

pub(crate) use cache::Cache;
pub use config::LoaderConfig;
pub use epoch::{Epoch, Loader};
pub(crate) use prefetch::{BatchSource, Prefetch};
