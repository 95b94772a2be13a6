//! The RoIs of one level, cut into bins: which pixels each bin reads, with which weights.
//!
//! Sampling is separable and known on the host, so the fused forms of RoIAlign share these lists:
//! every device reads the same pixels with the same weights.

use std::sync::Arc;

use burn::tensor::Shape;

use crate::roi_align::{RoiAxis, axes};
use crate::{Roi, RoiAlignOptions};

/// The RoIs of one level, by image.
#[derive(Clone, Debug)]
pub(crate) struct LevelRois {
    pub(crate) images: Arc<[Vec<PlaneRoi>]>,
    /// Shape of the features.
    pub(crate) features: [usize; 4],
    /// Shape of the output with the RoIs of all levels.
    pub(crate) output: [usize; 4],
    /// What it was made from, to be made again elsewhere.
    #[cfg(feature = "remote")]
    pub(crate) rois: Arc<[Roi]>,
    #[cfg(feature = "remote")]
    pub(crate) level: usize,
    #[cfg(feature = "remote")]
    pub(crate) options: RoiAlignOptions,
}

/// Where one RoI reads in a plane and where it goes.
#[derive(Debug)]
pub(crate) struct PlaneRoi {
    /// Row of the output.
    pub(crate) row: usize,
    /// Columns of the plane that are read.
    pub(crate) columns: [usize; 2],
    /// Starts of the rows in the plane, and weights.
    pub(crate) y: Axis,
    /// Columns behind the first one that is read, and weights.
    pub(crate) x: Axis,
}

/// A [`RoiAxis`] in half the memory.
#[derive(Debug)]
pub(crate) struct Axis {
    ends: Vec<u32>,
    taps: Vec<Tap>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) offset: u32,
    pub(crate) weight: f32,
}

impl Axis {
    fn new(axis: &RoiAxis, bins: usize, offset: impl Fn(usize) -> usize) -> Self {
        let mut ends = Vec::with_capacity(bins);
        let mut taps = Vec::new();
        for bin in 0..bins {
            let tap = |&(pixel, weight)| Tap { offset: offset(pixel) as u32, weight };
            taps.extend(axis.bin(bin).iter().map(tap));
            ends.push(taps.len() as u32);
        }
        Self { ends, taps }
    }

    /// The taps of each bin.
    #[inline(always)]
    pub(crate) fn bins(&self) -> impl Iterator<Item = &[Tap]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let taps = &self.taps[start..end as usize];
            start = end as usize;
            taps
        })
    }
}

impl LevelRois {
    pub(crate) fn new(
        rois: &[Roi],
        level: usize,
        features: [usize; 4],
        options: &RoiAlignOptions,
    ) -> Self {
        let [batch_size, channels, height, width] = features;
        let [out_height, out_width] = options.output_size;
        let mut images: Vec<Vec<PlaneRoi>> = (0..batch_size).map(|_| Vec::new()).collect();
        for (row, roi) in rois.iter().enumerate().filter(|(_, roi)| roi.level == level) {
            let [y, x] = axes(roi, [height, width], options);
            let window = x.window();
            images[roi.image].push(PlaneRoi {
                row,
                columns: [window.start, window.end],
                y: Axis::new(&y, out_height, |row| row * width),
                x: Axis::new(&x, out_width, |column| column - window.start),
            });
        }
        let output = [rois.len(), channels, out_height, out_width];
        Self {
            images: images.into(),
            features,
            output,
            #[cfg(feature = "remote")]
            rois: rois.into(),
            #[cfg(feature = "remote")]
            level,
            #[cfg(feature = "remote")]
            options: options.clone(),
        }
    }

    pub(crate) fn features_shape(&self) -> Shape {
        Shape::new(self.features)
    }

    pub(crate) fn output_shape(&self) -> Shape {
        Shape::new(self.output)
    }
}
