//! Batches made ahead by threads, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, JoinHandle};

use super::queue::OrderedQueue;
use crate::DataError;

/// What makes the batches of one epoch.
pub(crate) trait BatchSource: Send + Sync + 'static {
    /// A batch.
    type Batch: Send;

    /// Batch `batch` of the epoch; `None` once `stop` is set.
    fn make(&self, batch: usize, stop: &AtomicBool) -> Option<Result<Self::Batch, DataError>>;
}

/// Batches of a source in order, made ahead of the caller.
///
/// If a batch cannot be made the error takes its place, also where the cause is a panic, and the
/// batches after it follow. Threads end when this is dropped.
#[derive(Debug)]
pub(crate) struct Prefetch<S: BatchSource> {
    queue: Arc<OrderedQueue<Result<S::Batch, DataError>>>,
    source: Arc<S>,
    /// Empty if the caller's thread does the work.
    threads: Vec<JoinHandle<()>>,
    remaining: usize,
}

impl<S: BatchSource> Prefetch<S> {
    /// Starts threads for the batches `start..end`; `ahead` of them may be ready or in the making,
    /// by default two per thread.
    pub(crate) fn new(
        source: S,
        start: usize,
        end: usize,
        workers: usize,
        ahead: Option<usize>,
    ) -> Self {
        let start = start.min(end);
        let workers = workers.min(end - start);
        let ahead = ahead.unwrap_or(2 * workers).max(workers);
        let (queue, source) = (Arc::new(OrderedQueue::new(start, end, ahead)), Arc::new(source));
        let spawn = |i| {
            let (queue, source) = (queue.clone(), source.clone());
            Builder::new().name(format!("loader-{i}")).spawn(move || work(&*source, &queue))
        };
        // A thread that the system refuses is done without.
        let threads: Vec<_> = (0..workers).filter_map(|i| spawn(i).ok()).collect();
        Self { queue, source, threads, remaining: end - start }
    }

    /// Batches left.
    pub(crate) fn remaining(&self) -> usize {
        self.remaining
    }
}

fn work<S: BatchSource>(source: &S, queue: &OrderedQueue<Result<S::Batch, DataError>>) {
    while let Some(batch) = queue.next_job() {
        if let Some(result) = make_guarded(source, batch, queue.stop()) {
            queue.finish(batch, result);
        }
    }
}

fn make_guarded<S: BatchSource>(
    source: &S,
    batch: usize,
    stop: &AtomicBool,
) -> Option<Result<S::Batch, DataError>> {
    catch_unwind(AssertUnwindSafe(|| source.make(batch, stop))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("no message").to_owned();
        Some(Err(DataError::WorkerPanicked { batch, message }))
    })
}

impl<S: BatchSource> Iterator for Prefetch<S> {
    type Item = Result<S::Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        if self.threads.is_empty() {
            let batch = self.queue.next_job()?;
            let result = make_guarded(&*self.source, batch, self.queue.stop())?;
            self.queue.finish(batch, result);
        }
        self.queue.next_result()
    }
}

impl<S: BatchSource> Drop for Prefetch<S> {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A panic inside a worker was caught and handed over as an error.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Odd;

    impl BatchSource for Odd {
        type Batch = usize;

        fn make(&self, batch: usize, _stop: &AtomicBool) -> Option<Result<usize, DataError>> {
            assert!(batch != 3, "three");
            Some(if batch == 5 { Err(DataError::EmptyDataset) } else { Ok(batch) })
        }
    }

    #[test]
    fn panics_and_errors_take_the_place_of_their_batch() {
        for workers in [0, 1, 4] {
            let batches: Vec<_> = Prefetch::new(Odd, 1, 8, workers, None).collect();
            let text = |result: Result<usize, DataError>| match result {
                Ok(batch) => batch.to_string(),
                Err(error) => error.to_string(),
            };
            let panicked = "batch 3: a loader thread panicked: three";
            let empty = "the data set has no images";
            let expected = ["1", "2", panicked, "4", empty, "6", "7"];
            assert_eq!(batches.into_iter().map(text).collect::<Vec<_>>(), expected);
        }
        assert_eq!(Prefetch::new(Odd, 9, 8, 2, None).count(), 0);
    }
}
