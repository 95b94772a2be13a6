//! The inner kernel of matrix products: a block of sums held in registers.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the innermost loop")]
#![allow(clippy::needless_range_loop, reason = "indices keep whole blocks in registers")]

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Isa, Portable, Simd, isa};

/// Most rows and vectors of a block.
const MAX_ROWS: usize = 8;
const MAX_VECTORS: usize = 3;

/// What the sums of a block start from.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// One value per row.
    Rows(*const f32),
    /// What the output holds, added at the end: the sums of parts round less than one long sum.
    Output,
    Zero,
}

/// `c[row][lane] = start + sum_k a[row][k] * b[k][lane]` for up to [`Products::rows`] rows and
/// [`Products::vectors`] vectors of lanes.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) a: *const f32,
    /// Distance between rows of `a`, and between its columns.
    pub(super) a_steps: [usize; 2],
    pub(super) b: *const f32,
    /// Distance between rows of `b`.
    pub(super) b_step: usize,
    pub(super) c: *mut f32,
    /// Distance between rows of `c`.
    pub(super) c_step: usize,
    /// Columns of `a`, rows of `b`.
    pub(super) depth: usize,
    /// How often `depth` columns and rows follow one another, and the distances in `a` and `b`.
    pub(super) runs: usize,
    pub(super) run_steps: [usize; 2],
    pub(super) rows: usize,
    pub(super) vectors: usize,
    pub(super) start: Start,
    /// Added at the end unless the output itself is; laid out as `c`.
    pub(super) residual: Option<*const f32>,
    /// Negative results become 0.
    pub(super) is_relu: bool,
}

type Kernel = unsafe fn(&Block);

/// The kernels of one instruction set.
pub(super) struct Products {
    pub(super) lanes: usize,
    /// Most rows of a block.
    pub(super) rows: usize,
    /// Most vectors of a block.
    pub(super) vectors: usize,
    /// By rows less one and vectors less one.
    kernels: [[Kernel; MAX_VECTORS]; MAX_ROWS],
}

impl Products {
    pub(super) fn get() -> &'static Self {
        match isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &AVX512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &AVX2,
            Isa::Portable => &PORTABLE,
        }
    }

    /// # Safety
    /// The pointers must cover all that the block describes.
    pub(super) unsafe fn block(&self, block: &Block) {
        // SAFETY: by the caller, and the instruction set was detected.
        unsafe { self.kernels[block.rows - 1][block.vectors - 1](block) }
    }

    /// Any number of rows: `block` describes the first ones.
    ///
    /// # Safety
    /// The pointers must cover all that the block describes.
    pub(super) unsafe fn rows(&self, block: &Block, rows: usize) {
        for part in parts(rows, self.rows) {
            let mut block = *block;
            block.rows = part.len();
            // SAFETY: by the caller.
            unsafe {
                block.a = block.a.add(part.start * block.a_steps[0]);
                block.c = block.c.add(part.start * block.c_step);
                if let Start::Rows(start) = block.start {
                    block.start = Start::Rows(start.add(part.start));
                }
                block.residual = block.residual.map(|from| from.add(part.start * block.c_step));
                self.block(&block);
            }
        }
    }
}

/// Cuts `0..count` into the fewest parts of at most `most`, of nearly equal lengths.
pub(super) fn parts(count: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let parts = count.div_ceil(most);
    let (least, longer) = (count / parts.max(1), count % parts.max(1));
    (0..parts).map(move |part| {
        let start = part * least + part.min(longer);
        start..start + least + usize::from(part < longer)
    })
}

#[inline(always)]
unsafe fn product<S: Simd, const ROWS: usize, const VECTORS: usize>(block: &Block) {
    // SAFETY: the caller vouches for every pointer of the block.
    // Loops rather than closures: a closure would not get the instruction set of its caller.
    unsafe {
        let mut rows = [block.a; ROWS];
        for row in 0..ROWS {
            rows[row] = block.a.add(row * block.a_steps[0]);
        }
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        match block.start {
            Start::Zero | Start::Output => {}
            Start::Rows(start) => {
                for row in 0..ROWS {
                    sums[row] = [S::splat(*start.add(row)); VECTORS];
                }
            }
        }
        for run in 0..block.runs {
            let mut b = block.b.add(run * block.run_steps[1]);
            let mut column = run * block.run_steps[0];
            for _ in 0..block.depth {
                let mut lanes = [S::splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    lanes[v] = S::load(b.add(v * S::LANES));
                }
                for row in 0..ROWS {
                    let factor = S::splat(*rows[row].add(column));
                    for v in 0..VECTORS {
                        sums[row][v] = factor.mul_add(lanes[v], sums[row][v]);
                    }
                }
                column += block.a_steps[1];
                b = b.add(block.b_step);
            }
        }
        let addend = match block.start {
            Start::Output => Some(block.c.cast_const()),
            _ => block.residual,
        };
        if let Some(addend) = addend {
            for row in 0..ROWS {
                for v in 0..VECTORS {
                    let at = row * block.c_step + v * S::LANES;
                    sums[row][v] = sums[row][v].add(S::load(addend.add(at)));
                }
            }
        }
        if block.is_relu {
            for row in 0..ROWS {
                for v in 0..VECTORS {
                    sums[row][v] = sums[row][v].relu();
                }
            }
        }
        for row in 0..ROWS {
            for v in 0..VECTORS {
                sums[row][v].store(block.c.add(row * block.c_step + v * S::LANES));
            }
        }
    }
}

macro_rules! kernels {
    ($name:ident, $module:ident, $simd:ty, $(#[$feature:meta])?, $most_rows:literal x $most_vectors:literal, [$($rows:literal)*]) => {
        mod $module {
            use super::*;
            $(#[$feature])?
            unsafe fn kernel<const ROWS: usize, const VECTORS: usize>(block: &Block) {
                unsafe { product::<$simd, ROWS, VECTORS>(block) }
            }
            pub(super) static $name: Products = Products {
                lanes: <$simd>::LANES,
                rows: $most_rows,
                vectors: $most_vectors,
                kernels: [$([kernel::<$rows, 1>, kernel::<$rows, 2>, kernel::<$rows, 3>]),*],
            };
        }
        use $module::$name;
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(AVX512, avx512, Avx512, #[target_feature(enable = "avx512f")], 8 x 3, [1 2 3 4 5 6 7 8]);
#[cfg(target_arch = "x86_64")]
kernels!(AVX2, avx2, Avx2, #[target_feature(enable = "avx2,fma")], 6 x 2, [1 2 3 4 5 6 6 6]);
kernels!(PORTABLE, portable, Portable, , 4 x 2, [1 2 3 4 4 4 4 4]);
