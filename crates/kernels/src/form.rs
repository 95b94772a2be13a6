//! Which form of an operation runs.

use std::sync::atomic::{AtomicBool, Ordering};

static FUSED: AtomicBool = AtomicBool::new(true);

/// Allows (the default) or forbids the fused forms, for the whole process.
///
/// A graph built before the call keeps the form it was built with.
pub fn set_fused(is_allowed: bool) {
    FUSED.store(is_allowed, Ordering::Relaxed);
}

/// Whether fused forms are allowed; see [`set_fused`].
pub fn is_fused() -> bool {
    FUSED.load(Ordering::Relaxed)
}
