//! The same work for many numbers, on all cores.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// Results of `make` for every number, in order.
pub(in crate::detection) fn in_parallel<T: Send>(
    numbers: Range<usize>,
    make: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    // Asking for the number of cores reads files of the system.
    let wanted = || thread::available_parallelism().map_or(1, usize::from);
    let cores = if numbers.len() < 2 { 1 } else { wanted() };
    if cores == 1 {
        return numbers.map(make).collect();
    }
    let share = numbers.len().div_ceil(cores);
    let make = &make;
    thread::scope(|scope| {
        let parts = numbers.clone().step_by(share);
        let parts = parts.map(|start| start..(start + share).min(numbers.end));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || part.map(make).collect::<Vec<T>>())).collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results.flat_map(|part| part.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
