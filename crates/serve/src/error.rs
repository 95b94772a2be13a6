//! Why a service does not start, or ends.

use std::io;

use longtail::training::TrainingError;
use thiserror::Error;

/// Why a service does not start, or ends before it is told to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A limit outside its range.
    #[error("{name} must be {expected}, not {value}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        value: String,
    },
    /// The model.
    #[error(transparent)]
    Model(#[from] TrainingError),
    /// Sockets and threads.
    #[error("cannot {what}: {source}")]
    Io {
        /// What failed.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The thread of the model ended by a panic outside of a request.
    #[error("the thread of the model ended: {message}")]
    Worker {
        /// What the panic says.
        message: String,
    },
}

impl ServeError {
    pub(crate) fn setting(
        name: &'static str,
        expected: impl Into<String>,
        value: impl ToString,
    ) -> Self {
        Self::Setting { name, expected: expected.into(), value: value.to_string() }
    }

    pub(crate) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
