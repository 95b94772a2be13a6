//! Sharing out work to threads, and memory each thread keeps.
#![allow(unsafe_code, reason = "threads write disjoint parts of one output")]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::pool::Buffer;

/// A pointer into an output of which every task writes its own part.
#[derive(Clone, Copy)]
pub(super) struct Target(*mut f32);

// SAFETY: whoever dereferences the pointer vouches for disjoint parts.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    pub(super) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Not to be written through.
    pub(super) fn reading(values: &[f32]) -> Self {
        Self(values.as_ptr().cast_mut())
    }

    pub(super) fn pointer(self) -> *mut f32 {
        self.0
    }

    /// # Safety
    /// `start..start + len` must lie within the output and belong to the calling task alone.
    pub(super) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// Runs `task(0)..task(count - 1)` on all threads, in any order.
pub(super) fn for_each(count: usize, task: impl Fn(usize) + Send + Sync) {
    match count {
        0 => {}
        1 => task(0),
        _ => (0..count).into_par_iter().for_each(task),
    }
}

/// As [`for_each`] for tasks of some microseconds: the calling thread takes its share at once, where
/// it would otherwise sleep until the others have woken up.
pub(super) fn for_each_row_block(count: usize, task: impl Fn(usize) + Send + Sync) {
    let helpers = rayon::current_num_threads().min(count).saturating_sub(1);
    if helpers == 0 {
        (0..count).for_each(task);
        return;
    }
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            task(index);
        }
    };
    rayon::in_place_scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| work()));
        work();
    });
}

/// Memory a thread keeps, and the job that used it last.
struct Scratch {
    buffer: Option<Buffer>,
    job: JobId,
}

/// Tells one job from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct JobId(u64);

impl JobId {
    /// An id that no other job has.
    pub(super) fn unique() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        const { RefCell::new(Scratch { buffer: None, job: JobId(0) }) };
}

/// Lends the calling thread two pieces of memory, of lengths that are the same in all tasks of a
/// job, and tells whether they still hold what the last task of this job left there. Otherwise they
/// hold anything.
///
/// The task must not start parallel work, as another task could then run on this thread.
pub(super) fn with_scratch<R>(
    job: JobId,
    [first, second]: [usize; 2],
    task: impl FnOnce(&mut [f32], &mut [f32], bool) -> R,
) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let first_len = first.next_multiple_of(16);
        let len = first_len + second;
        let is_kept = scratch.job == job;
        scratch.job = job;
        let buffer = &mut scratch.buffer;
        buffer.take_if(|buffer| buffer.as_slice().len() < len);
        let buffer = buffer.get_or_insert_with(|| Buffer::new(len));
        let (a, b) = buffer.as_mut_slice().split_at_mut(first_len);
        task(&mut a[..first], &mut b[..second], is_kept)
    })
}
