//! Load for `longtail serve`: many clients that check every answer, and requests that are wrong in
//! every way we know.

mod bad;
mod bomb;
mod client;
mod images;
mod load;
mod server;

pub use bad::{BadKind, BadResult, bad_requests};
pub use client::{Answer, Connection, Outcome, post};
pub use images::sample_images;
pub use load::{Load, LoadResult, answers_alone, run_clients};
pub use server::ServerProcess;

/// A recipe that is trained in seconds, of a detector with masks and many detections.
pub const TINY_RECIPE: &str = include_str!("tiny.toml");
