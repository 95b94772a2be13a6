//! Shear, translation and rotation with the nearest neighbour, as PIL.

use crate::RgbImage;

/// From output to input coordinates: `x' = m0 x + m1 y + m2`, `y' = m3 x + m4 y + m5`.
pub(super) type Matrix = [f64; 6];

/// Input rows shift by `-level` times their height above the top edge.
pub(super) fn shear_x(level: f64) -> Matrix {
    [1.0, level, 0.0, 0.0, 1.0, 0.0]
}

/// The same with columns.
pub(super) fn shear_y(level: f64) -> Matrix {
    [1.0, 0.0, 0.0, level, 1.0, 0.0]
}

/// Moves right and down by whole pixels.
pub(super) fn translate(right: f64, down: f64) -> Matrix {
    [1.0, 0.0, -right.trunc(), 0.0, 1.0, -down.trunc()]
}

/// Turns counter-clockwise about the centre.
pub(super) fn rotate(degrees: f64, width: usize, height: usize) -> Matrix {
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}

/// Warps with 16-bit fixed-point coordinates; what comes from outside becomes `color`, and blank
/// where `is_blank`.
pub(super) fn warp(image: &RgbImage, m: Matrix, color: [u8; 3], is_blank: bool) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let mut out = RgbImage::filled(width, height, color);
    if image.blank().is_some() || is_blank {
        out.blank_mut().fill(is_blank);
    }
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let [dx_x, dx_y, dy_x, dy_y] = [m[0], m[1], m[3], m[4]].map(fixed);
    let start_x = fixed(m[2] + m[0] * 0.5 + m[1] * 0.5);
    let start_y = fixed(m[5] + m[3] * 0.5 + m[4] * 0.5);
    for y in 0..height {
        for x in 0..width {
            let from_x = (start_x + dx_x * x as i64 + dx_y * y as i64) >> 16;
            let from_y = (start_y + dy_x * x as i64 + dy_y * y as i64) >> 16;
            if !(0..width as i64).contains(&from_x) || !(0..height as i64).contains(&from_y) {
                continue;
            }
            let (to, from) = (y * width + x, from_y as usize * width + from_x as usize);
            let pixel = &image.pixels()[3 * from..3 * from + 3];
            out.pixels_mut()[3 * to..3 * to + 3].copy_from_slice(pixel);
            if out.blank().is_some() {
                out.blank_mut()[to] = image.blank().is_some_and(|blank| blank[from]);
            }
        }
    }
    out
}
