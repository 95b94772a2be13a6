//! What can go wrong around a measurement.

use std::path::PathBuf;

use thiserror::Error;

/// Why a benchmark did not run. What goes wrong within one case is in its record instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No suite has this name.
    #[error("unknown suite {name:?}; known: {known}")]
    UnknownSuite {
        /// What was asked for.
        name: String,
        /// The suites there are.
        known: String,
    },
    /// The filter leaves nothing.
    #[error("no case of {suites} contains {only:?}")]
    NoCase {
        /// The suites that were asked for.
        suites: String,
        /// The filter.
        only: String,
    },
    /// The device does not exist here.
    #[error(transparent)]
    Device(#[from] longtail::DeviceError),
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is not a report of this program.
    #[error("{path} is no benchmark report: {reason}")]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The Python beside us cannot be used.
    #[error("the peer {python:?} {reason}")]
    Peer {
        /// The interpreter.
        python: PathBuf,
        /// What it did.
        reason: String,
    },
    /// The number of threads was fixed before.
    #[error("cannot use {threads} threads: {reason}")]
    Threads {
        /// What was asked for.
        threads: usize,
        /// Why it cannot be.
        reason: String,
    },
    /// A number on the command line makes no sense.
    #[error("{name} must be {expected}, got {value}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        value: String,
    },
    /// A plot could not be drawn.
    #[error("cannot draw the plot: {0}")]
    Plot(String),
}
