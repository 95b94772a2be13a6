//! The one thread that runs the model.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::queue::{Batched, Job, Queue, Reply};

/// Takes batches from the queue and runs `model` on them until the queue is closed and empty.
///
/// `model` gives one result per image. If it fails or panics on a batch, its images are tried one by
/// one, so that only those fail that are to blame.
pub(crate) fn work<I: Batched, O>(
    queue: &Queue<I, O>,
    limits: (usize, Duration),
    metrics: &Metrics,
    mut model: impl FnMut(&[&I]) -> Result<Vec<O>, String>,
) {
    let (max_batch, max_wait) = limits;
    while let Some(batch) = queue.take(max_batch, max_wait) {
        let size = batch.len();
        let start = Instant::now();
        let images: Vec<&I> = batch.iter().map(|job| &job.image).collect();
        let found = run(&mut model, &images);
        metrics.batch(size, start.elapsed());
        match found {
            Ok(found) => {
                for (job, found) in batch.into_iter().zip(found) {
                    reply(job, Reply::Done(found, size));
                }
            }
            Err(failure) if size == 1 => {
                batch.into_iter().for_each(|job| reply(job, failed(metrics, &failure)));
            }
            Err(_) => {
                for job in batch {
                    let answer = match run(&mut model, &[&job.image]).map(|mut found| found.pop()) {
                        Ok(Some(found)) => Reply::Done(found, 1),
                        Ok(None) => Reply::Failed("the model gave no result".into()),
                        Err(failure) => failed(metrics, &failure),
                    };
                    reply(job, answer);
                }
            }
        }
    }
}

enum Failure {
    Error(String),
    Panic,
}

fn run<I, O>(
    model: &mut impl FnMut(&[&I]) -> Result<Vec<O>, String>,
    images: &[&I],
) -> Result<Vec<O>, Failure> {
    // The model is not changed by a pass; a panic leaves it as it was.
    match catch_unwind(AssertUnwindSafe(|| model(images))) {
        Ok(Ok(found)) if found.len() == images.len() => Ok(found),
        Ok(Ok(found)) => {
            let message = format!("{} results for {} images", found.len(), images.len());
            Err(Failure::Error(message))
        }
        Ok(Err(message)) => Err(Failure::Error(message)),
        Err(_) => Err(Failure::Panic),
    }
}

fn failed<O>(metrics: &Metrics, failure: &Failure) -> Reply<O> {
    match failure {
        Failure::Error(message) => Reply::Failed(message.clone()),
        Failure::Panic => {
            metrics.panic();
            Reply::Panicked
        }
    }
}

fn reply<I, O>(job: Job<I, O>, answer: Reply<O>) {
    // The client may have left meanwhile.
    let _ = job.reply.send(answer);
}

/// What a panic says.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(i32);

    impl Batched for Number {
        fn key(&self) -> [usize; 2] {
            [1, 1]
        }
    }

    fn model(images: &[&Number]) -> Result<Vec<i32>, String> {
        let numbers = images.iter().map(|image| image.0);
        if numbers.clone().any(|number| number == 13) {
            panic!("thirteen");
        }
        match numbers.clone().find(|&number| number < 0) {
            Some(number) => Err(format!("{number} is negative")),
            None => Ok(numbers.map(|number| 2 * number).collect()),
        }
    }

    #[test]
    fn only_those_to_blame_fail() {
        let queue = Queue::new(16);
        let numbers = [1, 13, 2, -5, 3];
        let push = |number| queue.push(queue.place().unwrap(), Number(number));
        let receivers = numbers.map(push);
        queue.close();
        let metrics = Metrics::default();
        work(&queue, (8, Duration::ZERO), &metrics, model);
        let replies = receivers.map(|mut receiver| match receiver.try_recv().unwrap() {
            Reply::Done(number, _) => number.to_string(),
            Reply::Failed(message) => message,
            Reply::Panicked => "panic".into(),
        });
        assert_eq!(replies, ["2", "panic", "4", "-5 is negative", "6"]);
        assert!(metrics.text(&Default::default()).contains("longtail_model_panics_total 1\n"));
    }

    #[test]
    fn a_model_that_swallows_images_is_found_out() {
        let queue = Queue::new(16);
        let mut receiver = queue.push(queue.place().unwrap(), Number(1));
        queue.close();
        work(&queue, (8, Duration::ZERO), &Metrics::default(), |_| Ok(Vec::<i32>::new()));
        let reply = receiver.try_recv().unwrap();
        assert!(matches!(reply, Reply::Failed(message) if message == "0 results for 1 images"));
    }
}
