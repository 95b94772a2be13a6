//! Faults of backends that are not ours to mend.

/// A case that a backend is known to fail.
pub(crate) struct KnownFault {
    /// Name of the backend, as `longtail devices` says it.
    pub(crate) backend: &'static str,
    pub(crate) case: &'static str,
    pub(crate) reason: &'static str,
}

/// In Burn 0.22.1.
pub(crate) const KNOWN_FAULTS: [KnownFault; 0] = [];

/// The fault behind a failure on a device such as `cuda:1`.
pub(crate) fn known_fault(device: &str, case: &str) -> Option<&'static str> {
    let backend = device.split(':').next().unwrap_or(device);
    let fault = KNOWN_FAULTS.iter().find(|fault| fault.backend == backend && fault.case == case);
    fault.map(|fault| fault.reason)
}
