//! Ctrl-C: the first asks the run to save and leave, the second leaves at once.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::TrainingError;

/// What shells expect of a program that Ctrl-C ended.
pub const INTERRUPTED_EXIT_CODE: u8 = 130;

/// A flag for [`TrainOptions::stop`](crate::TrainOptions::stop) that Ctrl-C or a termination signal
/// sets; the second one ends the process with [`INTERRUPTED_EXIT_CODE`].
/// # Errors
/// If the process listens for these signals already.
pub fn stop_on_interrupt() -> Result<Arc<AtomicBool>, TrainingError> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED_EXIT_CODE.into());
        }
    })
    .map_err(|error| TrainingError::Interrupt { problem: error.to_string() })?;
    Ok(stop)
}
