//! A thread for each replica but the first, for the whole run: devices keep a queue and memory for
//! every thread that uses them.

use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// One thread.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn spawn() -> Self {
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Puts a job at the end of the queue. One that cannot run any more is dropped.
    pub(crate) fn start(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            drop(jobs.send(Box::new(job)));
        }
    }

    /// Passes the panic of a job on.
    pub(crate) fn fail(&mut self) -> ! {
        self.jobs = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => resume_unwind(Box::new("a replica stopped")),
        }
    }
}

impl Drop for Worker {
    /// Ends the thread after its last job.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
