//! Batches in order, made ahead by worker threads.

mod cache;
mod config;
mod epoch;
mod maker;
mod queue;

pub use config::LoaderConfig;
pub use epoch::{Epoch, Loader};
