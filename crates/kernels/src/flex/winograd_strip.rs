//! Rows of tiles on their way from planes to transformed values, and back. Channels lie in the
//! lanes of vectors, so planes are transposed.
#![allow(unsafe_code, reason = "vector intrinsics and raw pointers in the inner loops")]
#![allow(clippy::needless_range_loop, reason = "indices keep tiles in registers")]

use super::simd::{MAX_LANES, Simd, dispatch};
use super::winograd::{Four, Scheme, Transform, Two};

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
