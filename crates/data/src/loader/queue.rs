//! The bounded, ordered queue between worker threads and the caller.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Results come in any order and leave in order; workers wait when they are too far ahead.
#[derive(Debug)]
pub(super) struct OrderedQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    stop: AtomicBool,
    /// One past the last job.
    end: usize,
    /// How far jobs may be ahead of the caller.
    ahead: usize,
}

#[derive(Debug)]
struct State<T> {
    next_job: usize,
    next_result: usize,
    ready: BTreeMap<usize, T>,
}

impl<T> OrderedQueue<T> {
    /// A queue for the jobs `start..end`.
    pub(super) fn new(start: usize, end: usize, ahead: usize) -> Self {
        let state = State { next_job: start, next_result: start, ready: BTreeMap::new() };
        let (state, changed, stop) = (Mutex::new(state), Condvar::new(), AtomicBool::new(false));
        Self { state, changed, stop, end, ahead: ahead.max(1) }
    }

    /// For a worker: the next job, when there is room for its result; `None` at the end.
    pub(super) fn next_job(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) || state.next_job >= self.end {
                return None;
            }
            if state.next_job < state.next_result + self.ahead {
                state.next_job += 1;
                return Some(state.next_job - 1);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For a worker: hands in the result of a job.
    pub(super) fn finish(&self, job: usize, result: T) {
        self.lock().ready.insert(job, result);
        self.changed.notify_all();
    }

    /// For the caller: the result of the next job in order; `None` after the last.
    pub(super) fn next_result(&self) -> Option<T> {
        let mut state = self.lock();
        let job = state.next_result;
        if job >= self.end {
            return None;
        }
        loop {
            if let Some(result) = state.ready.remove(&job) {
                state.next_result += 1;
                drop(state);
                self.changed.notify_all();
                return Some(result);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the work: no job is given out any more.
    pub(super) fn close(&self) {
        let guard = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        drop(guard);
        self.changed.notify_all();
    }

    /// Set once the queue is closed; workers look at it in the middle of a job.
    pub(super) fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
