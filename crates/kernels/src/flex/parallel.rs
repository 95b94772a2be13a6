//! Sharing out work to threads, and memory each thread keeps.
#![allow(unsafe_code, reason = "threads write disjoint parts of one output")]

use std::cell::RefCell;

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

thread_local! {
    static SCRATCH: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// Lends the calling thread two pieces of memory of the given lengths that hold anything.
///
/// The task must not start parallel work, as another task could then run on this thread.
pub(super) fn with_scratch<R>(
    [first, second]: [usize; 2],
    task: impl FnOnce(&mut [f32], &mut [f32]) -> R,
) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let first_len = first.next_multiple_of(16);
        let len = first_len + second;
        scratch.take_if(|buffer| buffer.as_slice().len() < len);
        let buffer = scratch.get_or_insert_with(|| Buffer::new(len));
        let (a, b) = buffer.as_mut_slice().split_at_mut(first_len);
        task(&mut a[..first], &mut b[..second])
    })
}
