//! The two inner kernels of a convolution: a tile of outputs, and a tile of weight gradients.
//!
//! Both work on *shifted planes*: the input is stored with its padding, so that kernel element `k`
//! of every output position is found at a fixed distance `offsets[k]` from that position.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the innermost loops")]
#![allow(clippy::needless_range_loop, reason = "indices keep whole tiles in registers")]

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Isa, Portable, Simd, isa};

/// Most vectors of pixels per tile.
const MAX_VECTORS: usize = 3;

/// Sums of one tile of weight gradients, at most; a multiple of 4.
const MAX_SUMS: usize = 24;

/// One vector of output positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Where its positions start in the shifted planes.
    pub(super) input: usize,
    /// Where its positions start in the output.
    pub(super) output: usize,
}

/// `rows` output channels times up to [`MAX_VECTORS`] slots:
/// `output[row][slot] = start + sum_k weights[k][row] * input[offsets[k] + slot]`.
pub(super) struct OutputTile<'a> {
    /// `[offsets.len()][tile rows]`, padded with zeros to the full number of rows.
    pub(super) weights: *const f32,
    pub(super) offsets: &'a [usize],
    pub(super) input: *const f32,
    pub(super) slots: &'a [Slot],
    pub(super) output: *mut f32,
    /// Distance between two output channels.
    pub(super) stride: usize,
    /// Output channels to write.
    pub(super) rows: usize,
    /// Distance between the halves of a slot in the input, when it is split.
    pub(super) split: usize,
    /// What the sums start from: one value per row, or with `None` what the output holds.
    pub(super) start: Option<*const f32>,
}

/// Adds to `rows x taps` weight gradients:
/// `gradient[row][k] += sum_slots output_gradient[row][slot] * input[offsets[k] + slot]`.
pub(super) struct GradientTile<'a> {
    pub(super) output_gradient: *const f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) input: *const f32,
    pub(super) offsets: &'a [usize],
    pub(super) slots: &'a [Slot],
    pub(super) split: usize,
    pub(super) gradient: *mut f32,
    pub(super) gradient_stride: usize,
}

/// Lines to copy from one plane to another.
pub(super) struct Lines {
    pub(super) from: *const f32,
    pub(super) from_pitch: usize,
    pub(super) to: *mut f32,
    pub(super) to_pitch: usize,
    pub(super) count: usize,
    pub(super) len: usize,
}

/// The kernels of one instruction set.
pub(super) struct Kernels {
    pub(super) lanes: usize,
    /// Output channels per tile.
    pub(super) rows: usize,
    /// Slots per tile, at most: as many as the registers hold.
    pub(super) vectors: usize,
    /// By number of slots less one; whole and split slots.
    output: [[unsafe fn(&OutputTile); MAX_VECTORS]; 2],
    /// Output channels and kernel elements per tile of weight gradients.
    pub(super) gradient_rows: usize,
    pub(super) gradient_taps: usize,
    gradient: [unsafe fn(&GradientTile); 2],
    copy: unsafe fn(&Lines),
}

impl Kernels {
    pub(super) fn get() -> &'static Self {
        match isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            Isa::Portable => &PORTABLE,
        }
    }

    /// Copies the first `len` values of each of `count` lines. Much faster than a call per line.
    ///
    /// # Panics
    /// If a line does not lie within its slice.
    pub(super) fn copy(
        &self,
        from: (&[f32], usize),
        to: (&mut [f32], usize),
        [count, len]: [usize; 2],
    ) {
        if count == 0 || len == 0 {
            return;
        }
        assert!((count - 1) * from.1 + len <= from.0.len(), "lines to read");
        assert!((count - 1) * to.1 + len <= to.0.len(), "lines to write");
        let lines = Lines {
            from: from.0.as_ptr(),
            from_pitch: from.1,
            to: to.0.as_mut_ptr(),
            to_pitch: to.1,
            count,
            len,
        };
        // SAFETY: all lines lie within the slices, and the instruction set was detected.
        unsafe { (self.copy)(&lines) }
    }

    /// # Safety
    /// The pointers must cover all that the tile describes; see [`OutputTile`].
    pub(super) unsafe fn output(&self, tile: &OutputTile) {
        // SAFETY: by the caller, and the instruction set was detected.
        unsafe { self.output[usize::from(tile.split > 0)][tile.slots.len() - 1](tile) }
    }

    /// # Safety
    /// The pointers must cover all that the tile describes; see [`GradientTile`].
    pub(super) unsafe fn gradient(&self, tile: &GradientTile) {
        // SAFETY: by the caller, and the instruction set was detected.
        unsafe { self.gradient[usize::from(tile.split > 0)](tile) }
    }
}

#[inline(always)]
unsafe fn copy_lines<S: Simd>(lines: &Lines) {
    // SAFETY: the caller vouches for every line.
    unsafe {
        for line in 0..lines.count {
            let from = lines.from.add(line * lines.from_pitch);
            let to = lines.to.add(line * lines.to_pitch);
            let mut at = 0;
            while at + S::LANES <= lines.len {
                S::load(from.add(at)).store(to.add(at));
                at += S::LANES;
            }
            while at + 4 <= lines.len {
                let four = from.add(at).cast::<[f32; 4]>().read_unaligned();
                to.add(at).cast::<[f32; 4]>().write_unaligned(four);
                at += 4;
            }
            while at < lines.len {
                *to.add(at) = *from.add(at);
                at += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd, const SPLIT: bool>(from: *const f32, split: usize) -> S {
    unsafe { if SPLIT { S::load_pair(from, from.add(split)) } else { S::load(from) } }
}

#[inline(always)]
unsafe fn output_tile<S: Simd, const ROWS: usize, const VECTORS: usize, const SPLIT: bool>(
    tile: &OutputTile,
) {
    // SAFETY: the caller vouches for every pointer of the tile.
    // Loops rather than closures: a closure would not get the instruction set of its caller.
    unsafe {
        let mut inputs = [tile.input; VECTORS];
        let mut outputs = [tile.output; VECTORS];
        for v in 0..VECTORS {
            let slot = tile.slots.get_unchecked(v);
            inputs[v] = tile.input.add(slot.input);
            outputs[v] = tile.output.add(slot.output);
        }
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        for row in 0..ROWS {
            if row < tile.rows {
                for v in 0..VECTORS {
                    sums[row][v] = match tile.start {
                        Some(start) => S::splat(*start.add(row)),
                        None => S::load(outputs[v].add(row * tile.stride)),
                    };
                }
            }
        }
        let mut weights = tile.weights;
        for &offset in tile.offsets {
            let mut pixels = [S::splat(0.0); VECTORS];
            for v in 0..VECTORS {
                pixels[v] = load::<S, SPLIT>(inputs[v].add(offset), tile.split);
            }
            for row in 0..ROWS {
                let weight = S::splat(*weights.add(row));
                for v in 0..VECTORS {
                    sums[row][v] = weight.mul_add(pixels[v], sums[row][v]);
                }
            }
            weights = weights.add(ROWS);
        }
        for row in 0..ROWS {
            if row < tile.rows {
                for v in 0..VECTORS {
                    sums[row][v].store(outputs[v].add(row * tile.stride));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_tile<S: Simd, const ROWS: usize, const TAPS: usize, const SPLIT: bool>(
    tile: &GradientTile,
) {
    // SAFETY: the caller vouches for every pointer of the tile.
    unsafe {
        // Rows and taps beyond the end repeat the last one and are dropped at the end.
        let mut gradients = [tile.output_gradient; ROWS];
        for row in 0..ROWS {
            gradients[row] = tile.output_gradient.add(row.min(tile.rows - 1) * tile.stride);
        }
        let mut inputs = [tile.input; TAPS];
        for tap in 0..TAPS {
            inputs[tap] =
                tile.input.add(*tile.offsets.get_unchecked(tap.min(tile.offsets.len() - 1)));
        }
        let mut sums = [[S::splat(0.0); TAPS]; ROWS];
        for slot in tile.slots {
            let mut gradient = [S::splat(0.0); ROWS];
            for row in 0..ROWS {
                gradient[row] = S::load(gradients[row].add(slot.output));
            }
            for tap in 0..TAPS {
                let pixels = load::<S, SPLIT>(inputs[tap].add(slot.input), tile.split);
                for row in 0..ROWS {
                    sums[row][tap] = gradient[row].mul_add(pixels, sums[row][tap]);
                }
            }
        }
        // Through memory, so that the sums above stay in registers.
        let mut lanes = [S::splat(0.0); MAX_SUMS];
        for row in 0..ROWS {
            for tap in 0..TAPS {
                lanes[row * TAPS + tap] = sums[row][tap];
            }
        }
        let mut totals = [0.0; MAX_SUMS];
        let lanes = std::hint::black_box(&lanes);
        for first in (0..ROWS * TAPS).step_by(4) {
            S::sum4(lanes.as_ptr().add(first), totals.as_mut_ptr().add(first));
        }
        for row in 0..tile.rows {
            for tap in 0..tile.offsets.len() {
                *tile.gradient.add(row * tile.gradient_stride + tap) += totals[row * TAPS + tap];
            }
        }
    }
}

macro_rules! kernels {
    ($name:ident, $module:ident, $simd:ty, $(#[$feature:meta])?, $rows:literal x $vectors:literal, $gradient_rows:literal x $gradient_taps:literal) => {
        mod $module {
            use super::*;
            $(#[$feature])?
            unsafe fn output<const VECTORS: usize, const SPLIT: bool>(tile: &OutputTile) {
                unsafe { output_tile::<$simd, $rows, VECTORS, SPLIT>(tile) }
            }
            $(#[$feature])?
            unsafe fn gradient<const SPLIT: bool>(tile: &GradientTile) {
                unsafe { gradient_tile::<$simd, $gradient_rows, $gradient_taps, SPLIT>(tile) }
            }
            $(#[$feature])?
            unsafe fn copy(lines: &Lines) {
                unsafe { copy_lines::<$simd>(lines) }
            }
            pub(super) static $name: Kernels = Kernels {
                lanes: <$simd>::LANES,
                rows: $rows,
                vectors: $vectors,
                output: [
                    [output::<1, false>, output::<2, false>, output::<3, false>],
                    [output::<1, true>, output::<2, true>, output::<3, true>],
                ],
                gradient_rows: $gradient_rows,
                gradient_taps: $gradient_taps,
                gradient: [gradient::<false>, gradient::<true>],
                copy,
            };
        }
        use $module::$name;
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(AVX512, avx512, Avx512, #[target_feature(enable = "avx512f")], 8 x 3, 4 x 5);
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, avx2, Avx2, #[target_feature(enable = "avx2,fma")], 4 x 2, 3 x 4);
kernels!(PORTABLE, portable, Portable, , 4 x 2, 3 x 4);
