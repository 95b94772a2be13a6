//! RoIAlign, plane by plane: a plane stays in cache while all RoIs of its image read it.
//!
//! Sampling is separable, so a bin is a weighted sum of rows, which are contiguous, and then a
//! short weighted sum of columns. The gradient goes the same way back. A task owns one channel of
//! one image, hence no two tasks ever write the same place.
#![allow(unsafe_code, reason = "tasks write disjoint parts of one output")]

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::parallel::{Target, for_each};
use super::pool::Buffer;
use super::simd::multiversion;
use crate::roi_align::{RoiAxis, axes};
use crate::{Roi, RoiAlignOptions};

/// The RoIs of one level, by image.
#[derive(Clone, Debug)]
pub(crate) struct LevelRois {
    images: Arc<[Vec<PlaneRoi>]>,
    /// Shape of the features.
    features: [usize; 4],
    /// Shape of the output with the RoIs of all levels.
    pub(super) output: [usize; 4],
}

/// Where one RoI reads in a plane and where it goes.
#[derive(Debug)]
struct PlaneRoi {
    /// Row of the output.
    row: usize,
    /// Columns of the plane that are read.
    columns: [usize; 2],
    /// Starts of the rows in the plane, and weights.
    y: Axis,
    /// Columns behind the first one that is read, and weights.
    x: Axis,
}

/// A [`RoiAxis`] in half the memory.
#[derive(Debug)]
struct Axis {
    ends: Vec<u32>,
    taps: Vec<Tap>,
}

#[derive(Clone, Copy, Debug)]
struct Tap {
    offset: u32,
    weight: f32,
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
    fn bins(&self) -> impl Iterator<Item = &[Tap]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let taps = &self.taps[start..end as usize];
            start = end as usize;
            taps
        })
    }
}

impl LevelRois {
    pub(super) fn new(
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
        Self { images: images.into(), features, output }
    }

    /// Calls `task(image, channel, plane)` for every plane, on all threads.
    fn for_each_plane(&self, task: impl Fn(usize, usize, std::ops::Range<usize>) + Send + Sync) {
        let [batch_size, channels, height, width] = self.features;
        let plane = height * width;
        for_each(batch_size * channels, |index| {
            task(index / channels, index % channels, index * plane..(index + 1) * plane);
        });
    }

    /// Where the bins of a RoI lie in the output.
    #[inline(always)]
    fn place(&self, roi: &PlaneRoi, channel: usize) -> usize {
        let [_, channels, height, width] = self.output;
        (roi.row * channels + channel) * height * width
    }

    /// Fills the rows of these RoIs.
    pub(super) fn forward(&self, features: &[f32], output: &mut [f32]) {
        let output = Target::new(output);
        self.for_each_plane(|image, channel, plane| {
            pool_plane(self, image, channel, &features[plane], output);
        });
    }

    /// The gradient of the features.
    pub(super) fn backward(&self, gradient: &[f32]) -> FlexTensor {
        let mut features = Buffer::new(self.features.iter().product());
        let target = Target::new(features.as_mut_slice());
        self.for_each_plane(|image, channel, plane| {
            // SAFETY: every plane belongs to one task.
            let plane = unsafe { target.part(plane.start, plane.len()) };
            spread_plane(self, image, channel, gradient, plane);
        });
        features.into_tensor(Shape::new(self.features))
    }
}

multiversion! {
    fn pool_plane(rois: &LevelRois, image: usize, channel: usize, plane: &[f32], output: Target) {
        let [_, _, height, width] = rois.output;
        let mut buffer = vec![0.0; rois.features[3]];
        for roi in &rois.images[image] {
            // SAFETY: a RoI is in one image, and its channel belongs to this task.
            let bins = unsafe { output.part(rois.place(roi, channel), height * width) };
            let [first, last] = roi.columns;
            let row = &mut buffer[..last - first];
            for (bins, taps) in bins.chunks_exact_mut(width).zip(roi.y.bins()) {
                sum_rows(row, taps, |offset| &plane[offset + first..offset + last]);
                for (bin, taps) in bins.iter_mut().zip(roi.x.bins()) {
                    *bin = taps.iter().map(|tap| row[tap.offset as usize] * tap.weight).sum();
                }
            }
        }
    }
}

/// Weighted sum of rows, several at a time.
#[inline(always)]
fn sum_rows<'a>(row: &mut [f32], taps: &[Tap], source: impl Fn(usize) -> &'a [f32]) {
    row.fill(0.0);
    let (fours, rest) = taps.as_chunks::<4>();
    for [a, b, c, d] in fours {
        let rows = [a, b, c, d].map(|tap| source(tap.offset as usize));
        let columns = rows[0].iter().zip(rows[1]).zip(rows[2]).zip(rows[3]);
        for (sum, (((u, v), w), x)) in row.iter_mut().zip(columns) {
            *sum += (u * a.weight + v * b.weight) + (w * c.weight + x * d.weight);
        }
    }
    for tap in rest {
        for (sum, value) in row.iter_mut().zip(source(tap.offset as usize)) {
            *sum += value * tap.weight;
        }
    }
}

multiversion! {
    fn spread_plane(
        rois: &LevelRois,
        image: usize,
        channel: usize,
        gradient: &[f32],
        plane: &mut [f32],
    ) {
        let [_, _, height, width] = rois.output;
        plane.fill(0.0);
        let mut buffer = vec![0.0; rois.features[3]];
        for roi in &rois.images[image] {
            let bins = &gradient[rois.place(roi, channel)..][..height * width];
            let [first, last] = roi.columns;
            let row = &mut buffer[..last - first];
            for (bins, taps) in bins.chunks_exact(width).zip(roi.y.bins()) {
                row.fill(0.0);
                for (bin, taps) in bins.iter().zip(roi.x.bins()) {
                    for tap in taps {
                        row[tap.offset as usize] += bin * tap.weight;
                    }
                }
                for tap in taps {
                    let offset = tap.offset as usize;
                    let target = &mut plane[offset + first..offset + last];
                    for (sum, value) in target.iter_mut().zip(row.iter()) {
                        *sum += value * tap.weight;
                    }
                }
            }
        }
    }
}
