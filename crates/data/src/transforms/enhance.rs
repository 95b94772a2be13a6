//! Brightness, contrast, saturation, sharpness and hue, with PIL's 8-bit arithmetic.

use crate::RgbImage;

/// Moves away from black (`factor` above 1) or towards it.
pub(super) fn brightness(image: &mut RgbImage, factor: f64) {
    let table = std::array::from_fn(|value| blend(0, value as u8, factor as f32));
    map(image, &[table; 3]);
}

/// Moves away from (or towards) the mean grey.
pub(super) fn contrast(image: &mut RgbImage, factor: f64) {
    let pixels = image.pixels().as_chunks::<3>().0;
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    let table = std::array::from_fn(|value| blend(mean, value as u8, factor as f32));
    map(image, &[table; 3]);
}

/// Moves away from (or towards) grey of the same luma.
pub(super) fn saturation(image: &mut RgbImage, factor: f64) {
    for pixel in image.pixels_mut().as_chunks_mut::<3>().0 {
        let grey = luma(*pixel);
        *pixel = pixel.map(|value| blend(grey, value, factor as f32));
    }
}

/// Moves away from (or towards) a smoothed image; the outermost pixels stay.
pub(super) fn sharpness(image: &mut RgbImage, factor: f64) {
    let (width, height) = (image.width(), image.height());
    let source = image.pixels().to_vec();
    let row = 3 * width;
    for y in 1..height.saturating_sub(1) {
        for i in y * row + 3..((y + 1) * row).saturating_sub(3).max(y * row + 3) {
            let around = [i - row, i, i + row].map(|i| {
                u32::from(source[i - 3]) + u32::from(source[i]) + u32::from(source[i + 3])
            });
            let sum = around.iter().sum::<u32>() + 4 * u32::from(source[i]);
            let smooth = ((2 * sum + 13) / 26) as u8; // sum / 13, rounded
            image.pixels_mut()[i] = blend(smooth, source[i], factor as f32);
        }
    }
}

/// Turns the hue by `shift`, in turns, through 8-bit HSV.
pub(super) fn hue(image: &mut RgbImage, shift: f64) {
    let shift = ((shift * 255.0) as i32) as u8; // wraps around
    for pixel in image.pixels_mut().as_chunks_mut::<3>().0 {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = from_hsv([h.wrapping_add(shift), s, v]);
    }
}

/// Replaces values by their table entries, per channel.
pub(super) fn map(image: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    for pixel in image.pixels_mut().as_chunks_mut::<3>().0 {
        for (value, table) in pixel.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

/// `from + factor (to - from)`, cut off towards 0 and kept in range.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + factor * (to - from)).clamp(0.0, 255.0) as u8
}

/// Luma of ITU-R 601, 16-bit fixed point.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let [r, g, b] = [r, g, b].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let [rc, gc, bc] = [r, g, b].map(|value| f32::from(max - value) / range);
    let sector = if r == max {
        bc - gc
    } else if g == max {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let turn = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    let saturation = range / f32::from(max);
    [(f64::from(turn) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let turn = f64::from(h) * 6.0 / 255.0;
    let sector = turn.floor();
    let part = f64::from((turn - sector) as f32);
    let s = f64::from((f64::from(s) / 255.0) as f32);
    let scale = |factor: f64| (f64::from(v) * factor).round().clamp(0.0, 255.0) as u8;
    let (p, q, t) = (scale(1.0 - s), scale(1.0 - s * part), scale(1.0 - s * (1.0 - part)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
