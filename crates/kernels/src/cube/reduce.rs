//! Sums and maxima over the units of a cube, in a fixed order.

use burn_cubecl::cubecl::{self, prelude::*};

/// Sum over the units; `num_units` is a power of two.
#[cube]
pub(super) fn cube_sum(value: f32, #[comptime] num_units: usize) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(num_units);
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    let mut half = comptime!(num_units / 2).runtime();
    while half > 0 {
        if unit < half {
            let sum = values[unit] + values[unit + half];
            values[unit] = sum;
        }
        sync_cube();
        half /= 2;
    }
    let sum = values[0];
    sync_cube();
    sum
}

/// Maximum over the units; `num_units` is a power of two.
#[cube]
pub(super) fn cube_max(value: f32, #[comptime] num_units: usize) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(num_units);
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    let mut half = comptime!(num_units / 2).runtime();
    while half > 0 {
        if unit < half {
            let maximum = max(values[unit], values[unit + half]);
            values[unit] = maximum;
        }
        sync_cube();
        half /= 2;
    }
    let maximum = values[0];
    sync_cube();
    maximum
}

/// `ln(1 + x)` for `x` in `[0, 1]`: `2 artanh(z)` at `z = x / (2 + x)` by its series. Adding 1 first
/// would lose the digits of a small `x`.
#[cube]
pub(super) fn log_one_plus(x: f32) -> f32 {
    let z = x / (x + 2.0f32);
    let s = z * z;
    let mut series = s * 0.076_923_08f32 + 0.090_909_09f32; // 1/13, 1/11
    series = series * s + 0.111_111_11f32;
    series = series * s + 0.142_857_15f32;
    series = series * s + 0.2f32;
    series = series * s + 0.333_333_34f32;
    2.0f32 * z + 2.0f32 * z * s * series
}
