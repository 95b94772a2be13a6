//! Average pooling of regions of interest from feature maps of several scales.

use burn::tensor::{DType, Tensor};

use crate::composed;
use crate::precision::{cast, to_single};
#[cfg(any(feature = "flex", feature = "cube"))]
use crate::{form, roi_backend};

/// A region of interest (RoI).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// Image in the batch.
    pub image: usize,
    /// Feature map to read.
    pub level: usize,
    /// `[x1, y1, x2, y2]` in the pixels of the image.
    pub bbox: [f32; 4],
}

/// How [`roi_align`] samples.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiAlignOptions {
    /// `[height, width]` of the output, in bins.
    pub output_size: [usize; 2],
    /// Size of each level's map divided by that of the image, such as 1/4, 1/8, 1/16, 1/32.
    pub scales: Vec<f32>,
    /// Samples per bin and axis; `None`, or 0, takes one per pixel of the map, rounded up.
    pub sampling_ratio: Option<usize>,
    /// Whether pixel centres lie at half-integers. False is the older definition, half a pixel off
    /// and with RoIs of at least one pixel; torchvision's detectors are trained with it.
    pub aligned: bool,
}

/// Pools every RoI into a grid of bins: the mean of bilinear samples, as torchvision's `roi_align`.
///
/// Samples outside of the map count as 0, and a RoI whose corners are not finite gives zeros.
/// Gradients flow to the features only.
/// Source: He et al., ICCV 2017, <https://arxiv.org/abs/1703.06870>.
/// # Shapes
/// - features: `[batch_size, channels, height, width]` for each level
/// - output: `[num_rois, channels, output_height, output_width]`, in the order of `rois`
/// # Panics
/// If there are no features, levels and scales differ in number, the levels differ in batch size or
/// channels, or a RoI names an image or level that does not exist.
pub fn roi_align(features: &[Tensor<4>], rois: &[Roi], options: &RoiAlignOptions) -> Tensor<4> {
    assert!(!features.is_empty(), "RoIAlign needs a feature map");
    let [num_levels, num_scales] = [features.len(), options.scales.len()];
    assert!(num_levels == num_scales, "{num_levels} feature maps, but {num_scales} scales");
    let [batch_size, channels, ..] = features[0].dims();
    for (level, map) in features.iter().enumerate() {
        let dims = map.dims();
        assert!(
            dims[..2] == [batch_size, channels],
            "level {level} has shape {dims:?}, level 0 has [{batch_size}, {channels}, ..]"
        );
    }
    for (index, Roi { image, level, .. }) in rois.iter().enumerate() {
        assert!(
            *image < batch_size && *level < num_levels,
            "RoI {index} is in image {image} of {batch_size}, level {level} of {num_levels}"
        );
    }
    let dtype = features[0].dtype();
    if dtype != DType::F32 {
        let features: Vec<Tensor<4>> = features.iter().cloned().map(to_single).collect();
        return cast(roi_align(&features, rois, options), dtype);
    }
    #[cfg(any(feature = "flex", feature = "cube"))]
    if features.iter().all(form::is_fused_on) && !rois.is_empty() {
        return roi_backend::roi_align(features, rois, options);
    }
    composed::roi_align(features, rois, options)
}

/// The pixels each bin reads along one axis, and their weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoiAxis {
    /// Where the pixels of each bin start, and where the last ones end.
    bounds: Vec<usize>,
    pixels: Vec<(usize, f32)>,
}

/// How one axis of a RoI is cut.
#[derive(Clone, Copy, Debug)]
pub struct RoiExtent {
    /// First and last coordinate in the pixels of the map.
    pub range: [f32; 2],
    /// Pixels of the map.
    pub size: usize,
    /// Bins.
    pub bins: usize,
    /// Samples per bin; `None` takes one per pixel, rounded up.
    pub sampling_ratio: Option<usize>,
    /// See [`RoiAlignOptions::aligned`].
    pub aligned: bool,
}

impl RoiAxis {
    /// The mean of bilinear samples at regular steps. Sampling is separable: the weight of a pixel
    /// in a bin is the product of its weights on both axes.
    pub fn new(extent: RoiExtent) -> Self {
        let RoiExtent { range, size, bins, sampling_ratio, aligned } = extent;
        let offset = if aligned { 0.5 } else { 0.0 };
        let start = range[0] - offset;
        let mut length = (range[1] - offset) - start;
        if !aligned {
            length = length.max(1.0);
        }
        let mut axis = Self { bounds: vec![0], pixels: Vec::new() };
        let bin_length = length / bins as f32;
        let sampling_ratio = sampling_ratio.filter(|&ratio| ratio > 0);
        let samples = sampling_ratio.unwrap_or(bin_length.ceil() as usize);
        for bin in 0..bins {
            if start.is_finite() && length.is_finite() && size > 0 {
                let first = start + bin as f32 * bin_length;
                // Adaptive samples are at most a pixel apart; skip those far outside of the map.
                let at = |position: f64| {
                    (position - f64::from(first)) / f64::from(bin_length) * samples as f64
                };
                let inside = match sampling_ratio {
                    Some(_) => 0..samples,
                    None => {
                        let low = (at(-1.0) - 2.0).max(0.0) as usize;
                        let high = (at(size as f64) + 2.0).max(0.0) as usize;
                        low..high.min(samples)
                    }
                };
                for sample in inside {
                    let position = first + (sample as f32 + 0.5) * bin_length / samples as f32;
                    axis.add(bin, position, size, 1.0 / samples as f32);
                }
            }
            axis.bounds.push(axis.pixels.len());
        }
        axis
    }

    /// Adds one bilinear sample to the bin that is being built.
    fn add(&mut self, bin: usize, position: f32, size: usize, weight: f32) {
        if !(-1.0..=size as f32).contains(&position) {
            return;
        }
        let position = position.max(0.0);
        let low = position as usize;
        if low + 1 >= size {
            return self.add_pixel(bin, size - 1, weight);
        }
        let fraction = position - low as f32;
        self.add_pixel(bin, low, (1.0 - fraction) * weight);
        self.add_pixel(bin, low + 1, fraction * weight);
    }

    fn add_pixel(&mut self, bin: usize, pixel: usize, weight: f32) {
        let of_bin = &mut self.pixels[self.bounds[bin]..];
        // Samples run along the axis, so a pixel that is known is among the last two.
        match of_bin.iter_mut().rev().take(2).find(|(known, _)| *known == pixel) {
            Some((_, sum)) => *sum += weight,
            None if weight == 0.0 => {}
            None => self.pixels.push((pixel, weight)),
        }
    }

    /// Pixels of one bin and their weights.
    pub fn bin(&self, bin: usize) -> &[(usize, f32)] {
        &self.pixels[self.bounds[bin]..self.bounds[bin + 1]]
    }

    /// The smallest range of pixels that holds all that are read; empty if there are none.
    pub fn window(&self) -> std::ops::Range<usize> {
        let pixels = || self.pixels.iter().map(|&(pixel, _)| pixel);
        match (pixels().min(), pixels().max()) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        }
    }
}

/// Both axes of a RoI on its map of `[height, width]`, vertical first.
pub(crate) fn axes(roi: &Roi, size: [usize; 2], options: &RoiAlignOptions) -> [RoiAxis; 2] {
    let RoiAlignOptions { output_size, ref scales, sampling_ratio, aligned } = *options;
    let [x1, y1, x2, y2] = roi.bbox.map(|corner| corner * scales[roi.level]);
    let axis = |range, axis: usize| {
        let (size, bins) = (size[axis], output_size[axis]);
        RoiAxis::new(RoiExtent { range, size, bins, sampling_ratio, aligned })
    };
    [axis([y1, y2], 0), axis([x1, x2], 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(range: [f32; 2], size: usize, ratio: Option<usize>, aligned: bool) -> RoiAxis {
        RoiAxis::new(RoiExtent { range, size, bins: 2, sampling_ratio: ratio, aligned })
    }

    #[test]
    fn pixels_by_hand() {
        // Two bins of two pixels, sampled once per bin, halfway between pixels 0 and 1.
        let once = axis([0.0, 4.0], 8, Some(1), true);
        assert_eq!(once.bin(0), [(0, 0.5), (1, 0.5)]);
        assert_eq!(once.bin(1), [(2, 0.5), (3, 0.5)]);
        // Adaptive: samples on the pixels themselves.
        assert_eq!(axis([0.0, 4.0], 8, None, true), once);
        // The older definition samples half a pixel further: 0.5, 1.5 | 2.5, 3.5.
        let legacy = axis([0.0, 4.0], 8, None, false);
        assert_eq!(legacy.bin(0), [(0, 0.25), (1, 0.5), (2, 0.25)]);
        assert_eq!(legacy.window(), 0..5);
    }

    #[test]
    fn borders_and_degenerate_extents() {
        // Samples at -0.75 and -0.25 read pixel 0, samples beyond -1 nothing.
        assert_eq!(axis([-2.0, 0.0], 4, Some(2), false).bin(0), []);
        assert_eq!(axis([-2.0, 0.0], 4, Some(2), false).bin(1), [(0, 1.0)]);
        assert_eq!(axis([5.0, 9.0], 4, None, false).window(), 0..0);
        assert_eq!(axis([1.0, 1.0], 4, None, true).window(), 0..0);
        assert_eq!(axis([1.0, 1.0], 4, Some(1), true).window(), 0..2);
        for range in [[f32::NAN, 3.0], [0.0, f32::INFINITY], [f32::NEG_INFINITY, 3.0]] {
            assert_eq!(axis(range, 4, None, false).window(), 0..0);
        }
        assert_eq!(axis([0.0, 4.0], 0, None, false).window(), 0..0);
        // A huge box is no huge loop, and reads the map it covers.
        let huge = axis([-1e9, 1e9], 4, None, false);
        assert!(huge.window().end <= 4);
    }
}
