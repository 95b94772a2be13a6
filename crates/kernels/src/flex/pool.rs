//! Recycled memory of large tensors.
//!
//! A training step asks for the same sizes again and again. Returning large blocks to the system
//! and getting them back costs a page fault per 4 KiB, which can take longer than the arithmetic.
#![allow(unsafe_code, reason = "owns raw allocations and lends them to Burn's byte buffers")]

use std::alloc::{Layout as Memory, alloc, dealloc, handle_alloc_error};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{AllocationProperty, Bytes, DType, Shape};
use burn_std::{AccessError, AccessPolicy, AllocationController};

const ALIGN: usize = 64;
const HUGE_PAGE: usize = 2 << 20;
/// Blocks are multiples of this many bytes.
const GRAIN: usize = 4096;
/// Free memory kept beyond the largest amount in use so far.
const SLACK: usize = 64 << 20;

/// Owned, initialized memory for `f32` values; goes back to the pool when dropped.
pub(super) struct Buffer {
    block: Block,
    len: usize,
}

/// A raw allocation of `size` bytes, every byte initialized.
struct Block {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a block is the only owner of its memory.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

#[derive(Default)]
struct Pool {
    free: HashMap<usize, Vec<Block>>,
    free_bytes: usize,
    used_bytes: usize,
    peak_bytes: usize,
}

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

fn pool() -> MutexGuard<'static, Option<Pool>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// Memory for `len` values that hold anything.
    pub(super) fn new(len: usize) -> Self {
        let size = (len.max(1) * size_of::<f32>()).next_multiple_of(GRAIN);
        let mut guard = pool();
        let pool = guard.get_or_insert_default();
        pool.used_bytes += size;
        pool.peak_bytes = pool.peak_bytes.max(pool.used_bytes);
        let recycled = pool.free.get_mut(&size).and_then(Vec::pop);
        if recycled.is_some() {
            pool.free_bytes -= size;
        }
        pool.evict();
        drop(guard);
        Self { block: recycled.unwrap_or_else(|| Block::new(size)), len }
    }

    /// Memory for `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let mut buffer = Self::new(len);
        buffer.as_mut_slice().fill(0.0);
        buffer
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        // SAFETY: the block holds at least `len` initialized values, aligned to `ALIGN`.
        unsafe { std::slice::from_raw_parts(self.block.start.as_ptr().cast(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.block.start.as_ptr().cast(), self.len) }
    }

    /// Hands the memory to a contiguous tensor, which returns it to the pool in the end.
    pub(super) fn into_tensor(self, shape: Shape) -> FlexTensor {
        let len = self.len;
        debug_assert_eq!(shape.num_elements(), len);
        // SAFETY: the first `len * 4` bytes of the block are initialized.
        let bytes = unsafe { Bytes::from_controller(Box::new(self), len * size_of::<f32>()) };
        FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let size = self.block.size;
        let block = std::mem::replace(&mut self.block, Block::dangling());
        let mut guard = pool();
        let pool = guard.get_or_insert_default();
        pool.used_bytes -= size;
        pool.free.entry(size).or_default().push(block);
        pool.free_bytes += size;
        pool.evict();
    }
}

impl Pool {
    /// Frees blocks until no more than the largest amount ever in use is held, plus some slack.
    fn evict(&mut self) {
        let limit = self.peak_bytes + SLACK;
        while self.free_bytes + self.used_bytes > limit {
            let largest = self.free.iter().filter(|(_, blocks)| !blocks.is_empty());
            let Some(size) = largest.map(|(&size, _)| size).max() else { return };
            self.free.get_mut(&size).and_then(Vec::pop);
            self.free_bytes -= size;
        }
    }
}

impl Block {
    fn memory(size: usize) -> Memory {
        let align = if size >= HUGE_PAGE { HUGE_PAGE } else { ALIGN };
        // SAFETY: both alignments are powers of two and sizes stay far below `isize::MAX`.
        unsafe { Memory::from_size_align_unchecked(size, align) }
    }

    fn new(size: usize) -> Self {
        let memory = Self::memory(size);
        // SAFETY: `size` is not 0.
        let start = unsafe { alloc(memory) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(memory) };
        prefer_huge_pages(start, size);
        // SAFETY: the allocation has `size` bytes.
        unsafe { start.write_bytes(0, size) };
        Self { start, size }
    }

    fn dangling() -> Self {
        Self { start: NonNull::dangling(), size: 0 }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.size > 0 {
            // SAFETY: allocated in `new` with the same layout.
            unsafe { dealloc(self.start.as_ptr(), Self::memory(self.size)) };
        }
    }
}

/// Asks Linux to back a large block by huge pages: fewer faults, fewer misses of the address cache.
fn prefer_huge_pages(start: NonNull<u8>, size: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if size >= HUGE_PAGE {
        unsafe extern "C" {
            fn madvise(address: *mut u8, length: usize, advice: i32) -> i32;
        }
        const MADV_HUGEPAGE: i32 = 14;
        // SAFETY: advice about memory we own; it changes no content and a refusal is harmless.
        unsafe { madvise(start.as_ptr(), size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, size);
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        ALIGN
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _policy: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes = self.len * size_of::<f32>();
        // SAFETY: the block holds `bytes` initialized bytes and `&mut self` makes access unique.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.block.start.as_ptr().cast(), bytes) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.len * size_of::<f32>();
        // SAFETY: the block holds `bytes` initialized bytes.
        Ok(unsafe { std::slice::from_raw_parts(self.block.start.as_ptr().cast(), bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_recycled_and_bounded() {
        let size = 3_000_017;
        let mut first = Buffer::zeros(size);
        first.as_mut_slice()[size - 1] = 7.0;
        let address = first.as_slice().as_ptr();
        drop(first);
        let second = Buffer::new(size);
        assert_eq!(second.as_slice().as_ptr(), address);
        assert_eq!(second.as_slice()[size - 1], 7.0);
        drop(second);
        let guard = pool();
        let pool = guard.as_ref().unwrap();
        assert!(pool.free_bytes + pool.used_bytes <= pool.peak_bytes + SLACK);
    }

    #[test]
    fn a_tensor_gives_its_memory_back() {
        let tensor = Buffer::zeros(6).into_tensor(Shape::new([2, 3]));
        assert_eq!(tensor.storage::<f32>(), [0.0; 6]);
        let mut copy = tensor.clone();
        copy.storage_mut::<f32>()[0] = 1.0; // copies, since the memory is shared
        assert_eq!(tensor.storage::<f32>()[0], 0.0);
        assert_eq!(copy.into_data().try_to_vec::<f32>().unwrap()[0], 1.0);
    }
}
