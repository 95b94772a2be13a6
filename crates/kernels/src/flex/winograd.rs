//! Winograd's minimal filtering for 3 x 3 kernels: a tile of `m x m` outputs from `(m + 2)^2`
//! products per pair of channels instead of `9 m^2` (Lavin and Gray, CVPR 2016,
//! <https://arxiv.org/abs/1509.09308>).
//!
//! `Y = A^T [(G w G^T) * (B^T d B)] A`, and the gradient of `w` is `G^T [(B^T d B) * (A g A^T)] G`.
//! Channels lie in the lanes of vectors, so planes are transposed on their way in and out.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the inner loops")]
#![allow(clippy::needless_range_loop, reason = "indices keep tiles in registers")]

use super::simd::{MAX_LANES, Simd, dispatch, prefetch};

/// Most values of a transformed tile per axis.
const MAX_SIZE: usize = 6;
/// Kernels of so many channels are on their way from memory.
const AHEAD: usize = 6;

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
trait Transform {
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
struct Two;

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
struct Four;

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

/// A row of tiles of one block of channels (as many as a vector has lanes).
pub(super) struct Strip {
    pub(super) scheme: Scheme,
    /// First plane of the block.
    pub(super) planes: *mut f32,
    /// Planes of the block.
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// First row and column of the first tile; may lie outside of the plane.
    pub(super) first: [isize; 2],
    /// Tiles side by side.
    pub(super) tiles: usize,
    /// Transformed values of the first tile; one vector each.
    pub(super) values: *mut f32,
    pub(super) tile_step: usize,
    pub(super) position_step: usize,
    /// Room for [`Strip::buffer_len`] values.
    pub(super) buffer: *mut f32,
}

impl Strip {
    /// Columns of the buffer.
    fn columns(tiles: usize, tile: usize) -> usize {
        (tiles * tile + 2).next_multiple_of(MAX_LANES)
    }

    /// Values of the buffer of a strip.
    pub(super) fn buffer_len(scheme: Scheme, tiles: usize, lanes: usize) -> usize {
        (scheme.tile() + 2) * Self::columns(tiles, scheme.tile()) * lanes
    }
}

/// Copies `rows` rows of all channels into the buffer, channels in lanes, zeros outside.
#[inline(always)]
unsafe fn gather<S: Simd>(strip: &Strip, rows: usize, columns: usize, pitch: usize) {
    // SAFETY: the caller vouches for every pointer.
    unsafe {
        let [height, width] = strip.size;
        let plane = height * width;
        let zero = S::splat(0.0);
        let [first_y, first_x] = strip.first;
        let left = (-first_x).max(0) as usize; // columns of padding
        let skipped = first_x.max(0) as usize;
        let inside = (width - skipped).min(columns - left);
        for row in 0..rows {
            let line = strip.buffer.add(row * pitch * S::LANES);
            let y = first_y + row as isize;
            if y < 0 || y >= height as isize {
                for x in 0..columns {
                    zero.store(line.add(x * S::LANES));
                }
                continue;
            }
            let from = strip.planes.add(y as usize * width + skipped).cast_const();
            for x in 0..left {
                zero.store(line.add(x * S::LANES));
            }
            for x in left + inside..columns {
                zero.store(line.add(x * S::LANES));
            }
            let mut x = 0;
            while x < inside {
                let count = S::LANES.min(inside - x);
                let mut block = [zero; MAX_LANES];
                if count == S::LANES && strip.channels == S::LANES {
                    for channel in 0..S::LANES {
                        block[channel] = S::load(from.add(channel * plane + x));
                    }
                } else {
                    for channel in 0..strip.channels.min(S::LANES) {
                        block[channel] = S::load_part(from.add(channel * plane + x), count);
                    }
                }
                S::transpose(&mut block);
                let to = line.add((left + x) * S::LANES);
                for column in 0..count {
                    block[column].store(to.add(column * S::LANES));
                }
                x += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn load_window<S: Simd>(from: *const f32, pitch: usize, size: usize) -> [[S; 6]; 6] {
    unsafe {
        let mut window = [[S::splat(0.0); 6]; 6];
        for i in 0..size {
            for j in 0..size {
                window[i][j] = S::load(from.add((i * pitch + j) * S::LANES));
            }
        }
        window
    }
}

#[inline(always)]
unsafe fn lift<S: Simd, T: Transform, const IS_GRADIENT: bool>(strip: &Strip) {
    unsafe {
        let pitch = Strip::columns(strip.tiles, T::TILE);
        let window = if IS_GRADIENT { T::TILE } else { T::SIZE };
        let columns = strip.tiles * T::TILE + window - T::TILE;
        gather::<S>(strip, window, columns, pitch);
        for tile in 0..strip.tiles {
            let from = strip.buffer.add(tile * T::TILE * S::LANES);
            let mut values = load_window::<S>(from, pitch, window);
            for i in 0..window {
                values[i] = if IS_GRADIENT { T::gradient(values[i]) } else { T::input(values[i]) };
            }
            let to = strip.values.add(tile * strip.tile_step);
            for j in 0..T::SIZE {
                let mut column = [S::splat(0.0); 6];
                for i in 0..window {
                    column[i] = values[i][j];
                }
                let column = if IS_GRADIENT { T::gradient(column) } else { T::input(column) };
                for i in 0..T::SIZE {
                    column[i].store(to.add((i * T::SIZE + j) * strip.position_step));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn lift_input_body<S: Simd>(strip: &Strip) {
    unsafe {
        match strip.scheme {
            Scheme::Two => lift::<S, Two, false>(strip),
            Scheme::Four => lift::<S, Four, false>(strip),
        }
    }
}

#[inline(always)]
unsafe fn lift_gradient_body<S: Simd>(strip: &Strip) {
    unsafe {
        match strip.scheme {
            Scheme::Two => lift::<S, Two, true>(strip),
            Scheme::Four => lift::<S, Four, true>(strip),
        }
    }
}

dispatch! {
    /// `B^T d B` of every tile of a strip.
    ///
    /// # Safety
    /// The pointers of the strip must cover what it describes.
    pub(super) unsafe fn lift_input(strip: &Strip) = lift_input_body
}

dispatch! {
    /// `A g A^T` of every tile of a strip.
    ///
    /// # Safety
    /// The pointers of the strip must cover what it describes.
    pub(super) unsafe fn lift_gradient(strip: &Strip) = lift_gradient_body
}

/// Where the products of a strip go: to planes, with what follows a convolution.
pub(super) struct Drain {
    pub(super) strip: Strip,
    /// One value per channel of the block.
    pub(super) bias: Option<*const f32>,
    /// Planes laid out as those of the strip.
    pub(super) residual: Option<*const f32>,
    pub(super) is_relu: bool,
}

#[inline(always)]
unsafe fn drain<S: Simd, T: Transform>(drain: &Drain) {
    unsafe {
        let strip = &drain.strip;
        let pitch = Strip::columns(strip.tiles, T::TILE);
        let bias = match drain.bias {
            Some(bias) => S::load_part(bias, strip.channels),
            None => S::splat(0.0),
        };
        for tile in 0..strip.tiles {
            let from = strip.values.add(tile * strip.tile_step);
            let mut values = [[S::splat(0.0); 6]; 6];
            for i in 0..T::SIZE {
                let mut row = [S::splat(0.0); 6];
                for j in 0..T::SIZE {
                    row[j] = S::load(from.add((i * T::SIZE + j) * strip.position_step));
                }
                values[i] = T::output(row);
            }
            let to = strip.buffer.add(tile * T::TILE * S::LANES);
            for j in 0..T::TILE {
                let mut column = [S::splat(0.0); 6];
                for i in 0..T::SIZE {
                    column[i] = values[i][j];
                }
                let column = T::output(column);
                for i in 0..T::TILE {
                    column[i].add(bias).store(to.add((i * pitch + j) * S::LANES));
                }
            }
        }
        let [height, width] = strip.size;
        let plane = height * width;
        let first = strip.first[0] as usize;
        for row in 0..T::TILE.min(height - first) {
            let line = strip.buffer.add(row * pitch * S::LANES);
            let start = (first + row) * width;
            let mut x = 0;
            while x < width {
                let count = S::LANES.min(width - x);
                let mut block = [S::splat(0.0); MAX_LANES];
                for column in 0..S::LANES {
                    block[column] = S::load(line.add((x + column) * S::LANES));
                }
                S::transpose(&mut block);
                if let Some(residual) = drain.residual {
                    for channel in 0..S::LANES {
                        if channel < strip.channels {
                            let from = residual.add(channel * plane + start + x);
                            block[channel] = block[channel].add(S::load_part(from, count));
                        }
                    }
                }
                if drain.is_relu {
                    for channel in 0..S::LANES {
                        block[channel] = block[channel].relu();
                    }
                }
                let to = strip.planes.add(start + x);
                if count == S::LANES && strip.channels == S::LANES {
                    for channel in 0..S::LANES {
                        block[channel].store(to.add(channel * plane));
                    }
                } else {
                    for channel in 0..S::LANES {
                        if channel < strip.channels {
                            block[channel].store_part(to.add(channel * plane), count);
                        }
                    }
                }
                x += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn drain_output_body<S: Simd>(to: &Drain) {
    unsafe {
        match to.strip.scheme {
            Scheme::Two => drain::<S, Two>(to),
            Scheme::Four => drain::<S, Four>(to),
        }
    }
}

dispatch! {
    /// `A^T m A` of every tile of a strip, into planes.
    ///
    /// # Safety
    /// The pointers must cover what the strip describes.
    pub(super) unsafe fn drain_output(to: &Drain) = drain_output_body
}

/// Kernels of one block of channels in the lanes and a range of the other channels.
pub(super) struct Filters {
    pub(super) scheme: Scheme,
    /// Kernel of the first lane and the first other channel: 9 values.
    pub(super) weight: *mut f32,
    /// Distance between the kernels of two lanes, and of two other channels.
    pub(super) steps: [usize; 2],
    /// Lanes in use.
    pub(super) lanes: usize,
    /// Other channels.
    pub(super) depth: usize,
    /// Kernels turned by half a turn.
    pub(super) is_flipped: bool,
    /// Transformed values, one vector for each of the other channels and each position.
    pub(super) values: *mut f32,
    pub(super) depth_step: usize,
    pub(super) position_step: usize,
}

#[inline(always)]
unsafe fn lift_filters<S: Simd, T: Transform>(filters: &Filters) {
    unsafe {
        for k in 0..filters.depth {
            let from = filters.weight.add(k * filters.steps[1]).cast_const();
            let ahead = from.wrapping_add(AHEAD * filters.steps[1]);
            for lane in 0..S::LANES {
                prefetch(ahead.wrapping_add(lane * filters.steps[0]));
            }
            let mut taps = [S::splat(0.0); MAX_LANES];
            let mut first = 0;
            while first < 9 {
                let count = S::LANES.min(9 - first);
                let mut block = [S::splat(0.0); MAX_LANES];
                for lane in 0..S::LANES {
                    if lane < filters.lanes {
                        let from = from.add(lane * filters.steps[0] + first);
                        block[lane] = S::load_part(from, count);
                    }
                }
                S::transpose(&mut block);
                taps[first..first + count].copy_from_slice(&block[..count]);
                first += S::LANES;
            }
            if filters.is_flipped {
                for tap in 0..4 {
                    (taps[tap], taps[8 - tap]) = (taps[8 - tap], taps[tap]);
                }
            }
            let mut rows = [[S::splat(0.0); 6]; 3];
            for i in 0..3 {
                rows[i] = T::weight([taps[3 * i], taps[3 * i + 1], taps[3 * i + 2]]);
            }
            let to = filters.values.add(k * filters.depth_step);
            for j in 0..T::SIZE {
                let column = T::weight([rows[0][j], rows[1][j], rows[2][j]]);
                for i in 0..T::SIZE {
                    column[i].store(to.add((i * T::SIZE + j) * filters.position_step));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn drain_filters<S: Simd, T: Transform>(filters: &Filters) {
    unsafe {
        for k in 0..filters.depth {
            let from = filters.values.add(k * filters.depth_step).cast_const();
            let mut rows = [[S::splat(0.0); 3]; 6];
            for i in 0..T::SIZE {
                let mut row = [S::splat(0.0); 6];
                for j in 0..T::SIZE {
                    row[j] = S::load(from.add((i * T::SIZE + j) * filters.position_step));
                }
                rows[i] = T::weight_gradient(row);
            }
            let mut taps = [S::splat(0.0); MAX_LANES];
            for j in 0..3 {
                let mut column = [S::splat(0.0); 6];
                for i in 0..T::SIZE {
                    column[i] = rows[i][j];
                }
                let column = T::weight_gradient(column);
                for i in 0..3 {
                    taps[3 * i + j] = column[i];
                }
            }
            let to = filters.weight.add(k * filters.steps[1]);
            let mut first = 0;
            while first < 9 {
                let count = S::LANES.min(9 - first);
                let mut block = [S::splat(0.0); MAX_LANES];
                block[..count].copy_from_slice(&taps[first..first + count]);
                S::transpose(&mut block);
                for lane in 0..S::LANES {
                    if lane < filters.lanes {
                        block[lane].store_part(to.add(lane * filters.steps[0] + first), count);
                    }
                }
                first += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn lift_weight_body<S: Simd>(filters: &Filters) {
    unsafe {
        match filters.scheme {
            Scheme::Two => lift_filters::<S, Two>(filters),
            Scheme::Four => lift_filters::<S, Four>(filters),
        }
    }
}

#[inline(always)]
unsafe fn drain_weight_body<S: Simd>(filters: &Filters) {
    unsafe {
        match filters.scheme {
            Scheme::Two => drain_filters::<S, Two>(filters),
            Scheme::Four => drain_filters::<S, Four>(filters),
        }
    }
}

dispatch! {
    /// `G w G^T` of every kernel.
    ///
    /// # Safety
    /// The pointers must cover what the filters describe.
    pub(super) unsafe fn lift_weight(filters: &Filters) = lift_weight_body
}

dispatch! {
    /// `G^T u G` of every kernel, into weight gradients.
    ///
    /// # Safety
    /// The pointers must cover what the filters describe.
    pub(super) unsafe fn drain_weight(filters: &Filters) = drain_weight_body
}
