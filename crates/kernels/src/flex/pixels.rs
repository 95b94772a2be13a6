//! The pixels of planes that a 1 x 1 kernel sees, and copies of them.
#![allow(unsafe_code, reason = "raw pointers in the inner loops")]

use std::ops::Range;

use super::simd::{Simd, dispatch};

/// Where the pixels of a product lie in planes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Values per plane.
    pub(super) plane: usize,
    /// Pixels in use per plane and per row.
    pub(super) pixels: usize,
    pub(super) columns: usize,
    /// Distance between rows and between columns in use.
    pub(super) steps: [usize; 2],
}

impl Grid {
    pub(super) fn dense(size: [usize; 2]) -> Self {
        let pixels = size[0] * size[1];
        Self { plane: pixels, pixels, columns: size[1], steps: [size[1], 1] }
    }

    pub(super) fn is_dense(&self) -> bool {
        self.steps == [self.columns, 1]
    }

    /// Distance of a pixel from the start of its plane.
    pub(super) fn offset(&self, pixel: usize) -> usize {
        pixel / self.columns * self.steps[0] + pixel % self.columns * self.steps[1]
    }
}

/// Distance of every pixel from the start of the tensor, in the first channel; the last one is
/// repeated. Returns whether the pixels lie side by side.
pub(super) fn offsets_of(
    grid: &Grid,
    channels: usize,
    pixels: &Range<usize>,
    offsets: &mut [usize],
) -> bool {
    let image_len = channels * grid.plane;
    let first = pixels.start / grid.pixels;
    if grid.is_dense() && first == (pixels.end - 1) / grid.pixels {
        let start = first * image_len + pixels.start % grid.pixels;
        let last = pixels.len() - 1;
        for (lane, offset) in offsets.iter_mut().enumerate() {
            *offset = start + lane.min(last);
        }
        return true;
    }
    for (lane, offset) in offsets.iter_mut().enumerate() {
        let pixel = (pixels.start + lane).min(pixels.end - 1);
        *offset = pixel / grid.pixels * image_len + grid.offset(pixel % grid.pixels);
    }
    false
}

/// Pixels to copy: `to[channel][lane] = from[channel * plane + offsets[lane]]`.
pub(super) struct Pack<'a> {
    pub(super) from: *const f32,
    pub(super) plane: usize,
    pub(super) channels: usize,
    pub(super) offsets: &'a [usize],
    /// Lanes in use; the others may hold anything finite.
    pub(super) count: usize,
    /// Whether the offsets of the lanes in use are consecutive.
    pub(super) is_run: bool,
    pub(super) to: *mut f32,
}

#[inline(always)]
unsafe fn pack_body<S: Simd>(pack: &Pack) {
    // SAFETY: the caller vouches for every pointer.
    unsafe {
        let width = pack.offsets.len();
        let mut to = pack.to;
        if pack.is_run {
            let mut from = pack.from.add(pack.offsets[0]);
            for _ in 0..pack.channels {
                let mut lane = 0;
                while lane + S::LANES <= pack.count {
                    S::load(from.add(lane)).store(to.add(lane));
                    lane += S::LANES;
                }
                if lane < width {
                    S::load_part(from.add(lane), pack.count - lane).store(to.add(lane));
                }
                from = from.add(pack.plane);
                to = to.add(width);
            }
        } else {
            let mut from = pack.from;
            for _ in 0..pack.channels {
                for (lane, offset) in pack.offsets.iter().enumerate() {
                    *to.add(lane) = *from.add(*offset);
                }
                from = from.add(pack.plane);
                to = to.add(width);
            }
        }
    }
}

dispatch! {
    /// # Safety
    /// The pointers must cover what is described.
    pub(super) unsafe fn pack_lanes(pack: &Pack<'_>) = pack_body
}
