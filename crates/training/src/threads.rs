//! The number of threads of the CPU backends.

use crate::error::TrainingError;

/// Fixes the number of threads for this process; `None` leaves it at all cores.
/// # Errors
/// If another number was fixed before.
pub fn use_threads(wanted: Option<usize>) -> Result<(), TrainingError> {
    let Some(wanted) = wanted else { return Ok(()) };
    if rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global().is_ok() {
        return Ok(());
    }
    match rayon::current_num_threads() {
        found if found == wanted => Ok(()),
        found => Err(TrainingError::Threads { wanted, found }),
    }
}
