//! Why a case could not be computed.

use longtail_kernels::HostReadError;
use longtail_losses::LossError;
use longtail_models::ModelError;
use longtail_types::CountsError;

/// What stopped a case on a device, short of a wrong number.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformanceError {
    /// The device.
    #[error(transparent)]
    Device(#[from] HostReadError),
    /// A loss.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Class counts.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// The device has no such numbers.
    #[error("{what} is not there on this device")]
    NotThere {
        /// What was asked for.
        what: &'static str,
    },
    /// A tensor that should have a gradient has none.
    #[error("{name} has no gradient")]
    NoGradient {
        /// The tensor.
        name: &'static str,
    },
}
