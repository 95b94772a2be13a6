//! The same work for many numbers, on all cores.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// Results of `make` for every number, in order.
pub(in crate::detection) fn in_parallel<T: Send>(
    numbers: Range<usize>,
    make: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = numbers.len().div_ceil(cores).max(1);
    if numbers.len() <= share {
        return numbers.map(make).collect();
    }
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
