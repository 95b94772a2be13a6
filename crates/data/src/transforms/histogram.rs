//! Per-channel tables: automatic contrast, equalisation, posterising, solarising, inverting.

use super::enhance::map;
use crate::RgbImage;

/// Stretches each channel to the full range.
pub(super) fn auto_contrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let low = histogram.iter().position(|&n| n > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0);
        let scale = 255.0 / (high.saturating_sub(low)) as f64;
        table(|value| {
            if high <= low {
                return value;
            }
            (value as f64 * scale - low as f64 * scale).clamp(0.0, 255.0) as usize
        })
    });
    map(image, &tables);
}

/// Spreads the values of each channel evenly.
pub(super) fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let total: usize = histogram.iter().sum();
        let last = histogram.iter().rev().find(|&&n| n > 0).copied().unwrap_or(0);
        let step = (total - last) / 255;
        let mut below = step / 2;
        table(|value| {
            let level = below.checked_div(step).unwrap_or(value);
            below += histogram[value];
            level
        })
    });
    map(image, &tables);
}

/// Keeps the highest `bits` bits.
pub(super) fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = !(0xff_usize >> bits.min(8));
    map(image, &[table(|value| value & mask); 3]);
}

/// Inverts values that are not below `threshold`.
pub(super) fn solarize(image: &mut RgbImage, threshold: f64) {
    let invert = |value| if (value as f64) < threshold { value } else { 255 - value };
    map(image, &[table(invert); 3]);
}

/// Inverts all values.
pub(super) fn invert(image: &mut RgbImage) {
    map(image, &[table(|value| 255 - value); 3]);
}

fn table(mut level: impl FnMut(usize) -> usize) -> [u8; 256] {
    std::array::from_fn(|value| level(value).min(255) as u8)
}

fn histograms(image: &RgbImage) -> [[usize; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.pixels().as_chunks::<3>().0 {
        for (&value, counts) in pixel.iter().zip(&mut counts) {
            counts[usize::from(value)] += 1;
        }
    }
    counts
}
