//! Winograd's minimal filtering for 3 x 3 kernels: a tile of `m x m` outputs from `(m + 2)^2`
//! products per pair of channels instead of `9 m^2` (Lavin and Gray, CVPR 2016,
//! <https://arxiv.org/abs/1509.09308>).
//!
//! `Y = A^T [(G w G^T) * (B^T d B)] A`, and the gradient of `w` is `G^T [(B^T d B) * (A g A^T)] G`.
//! Channels lie in the lanes of vectors, so planes are transposed on their way in and out.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the inner loops")]
#![allow(clippy::needless_range_loop, reason = "indices keep tiles in registers")]

use super::simd::Simd;

/// Most values of a transformed tile per axis.
pub(super) const MAX_SIZE: usize = 6;

/// Outputs per tile and axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Two,
    Four,
}

impl Scheme {
    /// Outputs of a tile, per axis.
    pub(super) fn tile(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Values of a transformed tile.
    pub(super) fn positions(self) -> usize {
        (self.tile() + 2).pow(2)
    }
}

/// The transforms of one axis.
pub(super) trait Transform {
    const TILE: usize;
    const SIZE: usize;
    /// `B^T d`
    unsafe fn input<S: Simd>(d: [S; MAX_SIZE]) -> [S; MAX_SIZE];
    /// `G w`
    unsafe fn weight<S: Simd>(w: [S; 3]) -> [S; MAX_SIZE];
    /// `A^T m`
    unsafe fn output<S: Simd>(m: [S; MAX_SIZE]) -> [S; MAX_SIZE];
    /// `A g`
    unsafe fn gradient<S: Simd>(g: [S; MAX_SIZE]) -> [S; MAX_SIZE];
    /// `G^T u`
    unsafe fn weight_gradient<S: Simd>(u: [S; MAX_SIZE]) -> [S; 3];
}

/// F(2, 3) with the points 0, 1, -1.
pub(super) struct Two;

impl Transform for Two {
    const TILE: usize = 2;
    const SIZE: usize = 4;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3]), d[4], d[5]] }
    }

    #[inline(always)]
    unsafe fn weight<S: Simd>(w: [S; 3]) -> [S; MAX_SIZE] {
        unsafe {
            let zero = S::splat(0.0);
            let half = S::splat(0.5);
            let even = half.mul_add(w[0].add(w[2]), zero);
            let odd = half.mul_add(w[1], zero);
            [w[0], even.add(odd), even.sub(odd), w[2], zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe {
            let first = m[0].add(m[1].add(m[2]));
            [first, m[1].sub(m[2]).sub(m[3]), m[2], m[3], m[4], m[5]]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(g: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe {
            let zero = S::splat(0.0);
            [g[0], g[0].add(g[1]), g[0].sub(g[1]), zero.sub(g[1]), zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn weight_gradient<S: Simd>(u: [S; MAX_SIZE]) -> [S; 3] {
        unsafe {
            let half = S::splat(0.5);
            let sum = u[1].add(u[2]);
            let middle = half.mul_add(u[1].sub(u[2]), S::splat(0.0));
            [half.mul_add(sum, u[0]), middle, half.mul_add(sum, u[3])]
        }
    }
}

/// F(4, 3) with the points 0, 1, -1, 2, -2.
pub(super) struct Four;

impl Transform for Four {
    const TILE: usize = 4;
    const SIZE: usize = 6;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe {
            let [four, five, two] = [S::splat(4.0), S::splat(-5.0), S::splat(2.0)];
            let minus_four = S::splat(-4.0);
            let (a, b) = (minus_four.mul_add(d[2], d[4]), minus_four.mul_add(d[1], d[3]));
            let (c, e) = (d[4].sub(d[2]), d[3].sub(d[1]));
            [
                four.mul_add(d[0], five.mul_add(d[2], d[4])),
                a.add(b),
                a.sub(b),
                two.mul_add(e, c),
                S::splat(-2.0).mul_add(e, c),
                four.mul_add(d[1], five.mul_add(d[3], d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn weight<S: Simd>(w: [S; 3]) -> [S; MAX_SIZE] {
        unsafe {
            let zero = S::splat(0.0);
            let [sixth, fourth] = [S::splat(-1.0 / 6.0), S::splat(0.25)];
            let [a, b] = [sixth.mul_add(w[0].add(w[2]), zero), sixth.mul_add(w[1], zero)];
            let c = S::splat(1.0 / 24.0).mul_add(w[0], S::splat(1.0 / 6.0).mul_add(w[2], zero));
            let e = S::splat(1.0 / 12.0).mul_add(w[1], zero);
            [fourth.mul_add(w[0], zero), a.add(b), a.sub(b), c.add(e), c.sub(e), w[2]]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe {
            let [two, four, eight] = [S::splat(2.0), S::splat(4.0), S::splat(8.0)];
            let (a, b) = (m[1].add(m[2]), m[1].sub(m[2]));
            let (c, d) = (m[3].add(m[4]), m[3].sub(m[4]));
            [
                m[0].add(a).add(c),
                two.mul_add(d, b),
                four.mul_add(c, a),
                eight.mul_add(d, b).add(m[5]),
                m[4],
                m[5],
            ]
        }
    }

    #[inline(always)]
    unsafe fn gradient<S: Simd>(g: [S; MAX_SIZE]) -> [S; MAX_SIZE] {
        unsafe {
            let (a, b) = (g[0].add(g[2]), g[1].add(g[3]));
            let c = S::splat(4.0).mul_add(g[2], g[0]);
            let two = S::splat(2.0);
            let d = two.mul_add(S::splat(4.0).mul_add(g[3], g[1]), S::splat(0.0));
            [g[0], a.add(b), a.sub(b), c.add(d), c.sub(d), g[3]]
        }
    }

    #[inline(always)]
    unsafe fn weight_gradient<S: Simd>(u: [S; MAX_SIZE]) -> [S; 3] {
        unsafe {
            let zero = S::splat(0.0);
            let sixth = S::splat(1.0 / 6.0);
            let (a, b) = (u[1].add(u[2]), u[2].sub(u[1]));
            let (c, d) = (u[3].add(u[4]), u[3].sub(u[4]));
            let ends = S::splat(1.0 / 24.0).mul_add(c, zero);
            [
                S::splat(0.25).mul_add(u[0], S::splat(-1.0 / 6.0).mul_add(a, ends)),
                sixth.mul_add(b, S::splat(1.0 / 12.0).mul_add(d, zero)),
                sixth.mul_add(c.sub(a), u[5]),
            ]
        }
    }
}
