//! Images that wait for the model, and the batches they form.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Images of one key share a batch: those of one size.
pub(crate) trait Batched {
    fn key(&self) -> [usize; 2];
}

/// What becomes of an image.
#[derive(Debug)]
pub(crate) enum Reply<O> {
    /// The result, and the size of its batch.
    Done(O, usize),
    /// The model failed on it and says why.
    Failed(String),
    /// The model panicked on it.
    Panicked,
}

/// A place in the queue, held from before an image is decoded until it is taken.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// An image in the queue.
pub(crate) struct Job<I, O> {
    pub(crate) image: I,
    pub(crate) reply: oneshot::Sender<Reply<O>>,
    since: Instant,
    _place: Place,
}

/// A bounded queue between many requests and one model.
pub(crate) struct Queue<I, O> {
    state: Mutex<State<I, O>>,
    changed: Condvar,
    places: Arc<Semaphore>,
}

struct State<I, O> {
    jobs: VecDeque<Job<I, O>>,
    is_closed: bool,
}

impl<I: Batched, O> Queue<I, O> {
    /// A queue with room for `len` images.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            state: Mutex::new(State { jobs: VecDeque::new(), is_closed: false }),
            changed: Condvar::new(),
            places: Arc::new(Semaphore::new(len)),
        }
    }

    /// A place for an image, `None` if the queue is full.
    pub(crate) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|_permit| Place { _permit })
    }

    /// Puts an image into its place; the reply comes by the receiver. Whoever drops the receiver
    /// takes the image back, unless it is in a batch already.
    pub(crate) fn push(&self, place: Place, image: I) -> oneshot::Receiver<Reply<O>> {
        let (reply, receiver) = oneshot::channel();
        let job = Job { image, reply, since: Instant::now(), _place: place };
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
        receiver
    }

    /// Images that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Ends [`take`](Self::take) when the queue is empty.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for the next batch: the oldest image, and up to `max - 1` others with its key in the
    /// order they came, as soon as there are that many or the oldest has waited for `max_wait`.
    /// `None` after the end.
    pub(crate) fn take(&self, max: usize, max_wait: Duration) -> Option<Vec<Job<I, O>>> {
        let mut state = self.lock();
        loop {
            state.jobs.retain(|job| !job.reply.is_closed());
            let Some(first) = state.jobs.front() else {
                if state.is_closed {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let key = first.image.key();
            let left = max_wait.saturating_sub(first.since.elapsed());
            let num_like = state.jobs.iter().filter(|job| job.image.key() == key).count();
            if num_like >= max || left.is_zero() || state.is_closed {
                return Some(state.take(key, max));
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The model panics outside of this lock.
    fn lock(&self) -> MutexGuard<'_, State<I, O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Batched, O> State<I, O> {
    fn take(&mut self, key: [usize; 2], max: usize) -> Vec<Job<I, O>> {
        let mut batch = Vec::new();
        let mut rest = VecDeque::with_capacity(self.jobs.len());
        for job in self.jobs.drain(..) {
            if batch.len() < max && job.image.key() == key {
                batch.push(job);
            } else {
                rest.push_back(job);
            }
        }
        self.jobs = rest;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Image(usize, [usize; 2]);

    impl Batched for Image {
        fn key(&self) -> [usize; 2] {
            self.1
        }
    }

    fn queue(len: usize) -> Queue<Image, usize> {
        Queue::new(len)
    }

    fn names(batch: &[Job<Image, usize>]) -> Vec<usize> {
        batch.iter().map(|job| job.image.0).collect()
    }

    #[test]
    fn batches_have_one_size_and_keep_the_order() {
        let queue = queue(9);
        let sizes = [[1, 1], [2, 2], [1, 1], [1, 1], [2, 2]];
        let push = |(name, size)| queue.push(queue.place().unwrap(), Image(name, size));
        let receivers: Vec<_> = sizes.into_iter().enumerate().map(push).collect();
        assert_eq!(queue.len(), 5);
        let take = || names(&queue.take(2, Duration::ZERO).unwrap());
        assert_eq!([take(), take(), take()], [vec![0, 2], vec![1, 4], vec![3]]);
        queue.close();
        assert!(queue.take(2, Duration::ZERO).is_none());
        drop(receivers);
    }

    #[test]
    fn a_full_queue_has_no_place_until_a_batch_is_taken() {
        let queue = queue(2);
        let places = [queue.place().unwrap(), queue.place().unwrap()];
        assert!(queue.place().is_none());
        let receivers = places.map(|place| queue.push(place, Image(0, [1, 1])));
        assert!(queue.place().is_none());
        drop(queue.take(1, Duration::ZERO).unwrap());
        assert!(queue.place().is_some());
        drop(receivers);
    }

    #[test]
    fn nobody_works_for_a_client_that_left() {
        let queue = queue(2);
        drop(queue.push(queue.place().unwrap(), Image(0, [1, 1])));
        let _stays = queue.push(queue.place().unwrap(), Image(1, [1, 1]));
        assert_eq!(names(&queue.take(8, Duration::ZERO).unwrap()), [1]);
        assert!(queue.place().is_some());
    }

    #[test]
    fn the_first_image_waits_for_others() {
        let queue = Arc::new(queue(4));
        let _first = queue.push(queue.place().unwrap(), Image(0, [1, 1]));
        let late = Arc::clone(&queue);
        let pusher = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            late.push(late.place().unwrap(), Image(1, [1, 1]))
        });
        // Two fill the batch, long before the time is up.
        let batch = queue.take(2, Duration::from_secs(60)).unwrap();
        assert_eq!(names(&batch), [0, 1]);
        let _second = pusher.join().unwrap();
        let start = Instant::now();
        let _third = queue.push(queue.place().unwrap(), Image(2, [1, 1]));
        assert_eq!(names(&queue.take(2, Duration::from_millis(40)).unwrap()), [2]);
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
}
