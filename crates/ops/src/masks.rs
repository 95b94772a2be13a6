//! Masks as targets and results of a mask head.

use longtail_kernels::{RoiAxis, RoiExtent};
use longtail_types::{BBox, Mask};
use rayon::prelude::*;

/// What a mask head should predict in `rois`: the share of each bin that the object covers, in
/// `[0, 1]`, `[num_rois, size, size]`.
///
/// `masks[i]` is the object that `rois[i]` is matched to, both in an image of `image_size`
/// `[height, width]`. As torchvision's `project_masks_on_boxes`: RoIAlign of the older definition
/// with one sample per pixel, without threshold.
/// Source: He et al., ICCV 2017, <https://arxiv.org/abs/1703.06870>.
/// # Panics
/// If there are more or fewer masks than RoIs.
pub fn mask_targets(
    masks: &[&Mask],
    rois: &[BBox],
    image_size: [usize; 2],
    size: usize,
) -> Vec<f32> {
    assert_eq!(masks.len(), rois.len(), "one mask per RoI");
    let mut targets = vec![0.0; rois.len() * size * size];
    if size > 0 {
        targets.par_chunks_mut(size * size).zip(masks).zip(rois).for_each(
            |((target, mask), roi)| {
                crop(mask, *roi, image_size, target, size);
            },
        );
    }
    targets
}

fn crop(mask: &Mask, roi: BBox, [height, width]: [usize; 2], target: &mut [f32], bins: usize) {
    let axis = |range: [f32; 2], size: usize| {
        RoiAxis::new(RoiExtent { range, size, bins, sampling_ratio: None, aligned: false })
    };
    let (y, x) = (axis([roi.y1, roi.y2], height), axis([roi.x1, roi.x2], width));
    let columns = mask.left()..mask.left() + mask.width();
    let mut row = vec![0.0_f32; mask.width()];
    for (bin_y, target) in target.chunks_exact_mut(bins).enumerate() {
        row.fill(0.0);
        for &(pixel, weight) in y.bin(bin_y) {
            let Some(line) = pixel.checked_sub(mask.top()).filter(|&line| line < mask.height())
            else {
                continue;
            };
            let pixels = &mask.pixels()[line * mask.width()..][..mask.width()];
            for (sum, &is_set) in row.iter_mut().zip(pixels) {
                *sum += if is_set { weight } else { 0.0 };
            }
        }
        for (bin_x, target) in target.iter_mut().enumerate() {
            let inside = x.bin(bin_x).iter().filter(|(pixel, _)| columns.contains(pixel));
            *target = inside.map(|&(pixel, weight)| row[pixel - columns.start] * weight).sum();
        }
    }
}

/// The pixels of an image of `image_size` `[height, width]` where the predicted mask of `bbox` is
/// above `threshold` (usually 0.5).
///
/// `probabilities` is the square output of a mask head, row by row. As torchvision's
/// `paste_masks_in_image`: a border of one bin of zeros, a box rounded to whole pixels, bilinear
/// interpolation. A box beside the image gives an empty mask.
/// # Panics
/// If `probabilities` is not a square.
pub fn paste_mask(
    probabilities: &[f32],
    bbox: BBox,
    image_size: [usize; 2],
    threshold: f32,
) -> Mask {
    let size = probabilities.len().isqrt();
    assert_eq!(size * size, probabilities.len(), "a mask head predicts squares");
    if size == 0 {
        return Mask::default();
    }
    let scale = (size + 2) as f32 / size as f32;
    let [height, width] = image_size;
    let rows = Resize::new([bbox.y1, bbox.y2], scale, size, height);
    let columns = Resize::new([bbox.x1, bbox.x2], scale, size, width);
    let (top, left) = (rows.first, columns.first);
    let mut pixels = Vec::with_capacity(rows.sources.len() * columns.sources.len());
    // The border: bins -1 and `size` are zeros.
    let at = |y: usize, x: usize| {
        let inside = (1..=size).contains(&y) && (1..=size).contains(&x);
        if inside { probabilities[(y - 1) * size + x - 1] } else { 0.0 }
    };
    for &(y, next_y, below) in &rows.sources {
        let mix = |x: usize| (1.0 - below) * at(y, x) + below * at(next_y, x);
        let line: Vec<f32> = (0..size + 2).map(mix).collect();
        pixels.extend(
            columns.sources.iter().map(|&(x, next_x, right)| {
                (1.0 - right) * line[x] + right * line[next_x] > threshold
            }),
        );
    }
    let size = [rows.sources.len(), columns.sources.len()];
    Mask::new([left, top], size, pixels).unwrap_or_default()
}

/// One axis of a resized mask, as far as it lies in the image.
struct Resize {
    /// First pixel in the image.
    first: usize,
    /// For every pixel the two padded bins it lies between, and the share of the second.
    sources: Vec<(usize, usize, f32)>,
}

impl Resize {
    fn new([start, end]: [f32; 2], scale: f32, bins: usize, image_size: usize) -> Self {
        let half = (end - start) * 0.5 * scale;
        let center = (end + start) * 0.5;
        // Truncated towards zero, and saturated.
        let (start, end) = ((center - half) as i64, (center + half) as i64);
        let length = end.saturating_sub(start).saturating_add(1).max(1);
        let padded = bins + 2;
        let step = padded as f32 / length as f32;
        let stop = end.saturating_add(1).min(image_size as i64);
        let sources = (start.max(0)..stop).map(|pixel| {
            let position = (((pixel - start) as f32 + 0.5) * step - 0.5).max(0.0);
            let bin = (position as usize).min(padded - 1);
            let next = (bin + 1).min(padded - 1);
            (bin, next, (position - bin as f32).clamp(0.0, 1.0))
        });
        Self { first: start.max(0) as usize, sources: sources.collect() }
    }
}
