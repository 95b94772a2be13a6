//! Classifiers and detectors behind HTTP.
//!
//! [`serve`] answers `POST /predict` with an image in the body by JSON in the form of COCO, or by the
//! image with its detections drawn; `/healthz`, `/readyz`, `/metrics`, `/model` and `/` tell the rest.
//!
//! - One thread owns the model. Images are decoded on others, wait in a bounded queue, and form
//!   batches of one size, so that an answer does not depend on what else is in its batch.
//! - Everything is bounded: bodies one by one and together, pixels before they are decoded,
//!   connections, waiting images, and the time of each step. What is over a limit is refused with a
//!   status and a reason in JSON.
//! - A panic of the model costs the request that caused it, and no other.
//! - When it is told to stop, it answers every request that has begun.
//!
//! ```no_run
//! use std::net::TcpListener;
//! use std::path::Path;
//!
//! use longtail_serve::{ServeConfig, ServeEvents, ServedModel, serve};
//!
//! let listener = TcpListener::bind("127.0.0.1:8080")?;
//! let device = longtail::device("flex")?;
//! let load = move || ServedModel::load(Path::new("runs/detector"), &device);
//! let stop = longtail::training::stop_on_interrupt()?;
//! serve(listener, &ServeConfig::default(), load, ServeEvents::default(), &stop)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod app;
mod body;
mod config;
mod error;
mod image;
mod metrics;
mod model;
mod multipart;
mod observe;
mod problem;
mod query;
mod queue;
mod server;
mod stream;
mod worker;

pub use config::ServeConfig;
pub use error::ServeError;
pub use model::ServedModel;
pub use observe::{Observer, OnReady, RequestRecord, ServeEvents};
pub use server::{ServeSummary, serve};
