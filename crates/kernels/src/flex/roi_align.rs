//! RoIAlign, plane by plane: a plane stays in cache while all RoIs of its image read it.
//!
//! Sampling is separable, so a bin is a weighted sum of rows, which are contiguous, and then a
//! short weighted sum of columns. The gradient goes the same way back. A task owns one channel of
//! one image, hence no two tasks ever write the same place.
#![allow(unsafe_code, reason = "tasks write disjoint parts of one output")]

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;

use super::parallel::{Target, for_each};
use super::pool::Buffer;
use super::simd::multiversion;
use super::tensor::{contiguous, values};
use crate::level_rois::{LevelRois, PlaneRoi, Tap};
use crate::roi_backend::RoiBackend;

impl RoiBackend for Flex {
    fn fused_roi_align(features: FlexTensor, rois: LevelRois) -> FlexTensor {
        let features = contiguous(features);
        let mut output = Buffer::new(rois.output.iter().product());
        pool(&rois, values(&features), output.as_mut_slice());
        output.into_tensor(rois.output_shape())
    }

    fn fused_roi_align_onto(
        output: FlexTensor,
        features: FlexTensor,
        rois: LevelRois,
    ) -> FlexTensor {
        let (mut output, features) = (contiguous(output), contiguous(features));
        pool(&rois, values(&features), output.storage_mut::<f32>());
        output
    }

    fn fused_roi_align_backward(gradient: FlexTensor, rois: LevelRois) -> FlexTensor {
        let gradient = contiguous(gradient);
        let mut features = Buffer::new(rois.features.iter().product());
        spread(&rois, values(&gradient), features.as_mut_slice());
        features.into_tensor(rois.features_shape())
    }
}

/// Fills the rows of these RoIs.
fn pool(rois: &LevelRois, features: &[f32], output: &mut [f32]) {
    let output = Target::new(output);
    for_each_plane(rois, |image, channel, plane| {
        pool_plane(rois, image, channel, &features[plane], output);
    });
}

/// Fills the gradient of the features.
fn spread(rois: &LevelRois, gradient: &[f32], features: &mut [f32]) {
    let target = Target::new(features);
    for_each_plane(rois, |image, channel, plane| {
        // SAFETY: every plane belongs to one task.
        let plane = unsafe { target.part(plane.start, plane.len()) };
        spread_plane(rois, image, channel, gradient, plane);
    });
}

/// Calls `task(image, channel, plane)` for every plane, on all threads.
fn for_each_plane(
    rois: &LevelRois,
    task: impl Fn(usize, usize, std::ops::Range<usize>) + Send + Sync,
) {
    let [batch_size, channels, height, width] = rois.features;
    let plane = height * width;
    for_each(batch_size * channels, |index| {
        task(index / channels, index % channels, index * plane..(index + 1) * plane);
    });
}

/// Where the bins of a RoI lie in the output.
#[inline(always)]
fn place(rois: &LevelRois, roi: &PlaneRoi, channel: usize) -> usize {
    let [_, channels, height, width] = rois.output;
    (roi.row * channels + channel) * height * width
}

multiversion! {
    fn pool_plane(rois: &LevelRois, image: usize, channel: usize, plane: &[f32], output: Target) {
        let [_, _, height, width] = rois.output;
        let mut buffer = vec![0.0; rois.features[3]];
        for roi in &rois.images[image] {
            // SAFETY: a RoI is in one image, and its channel belongs to this task.
            let bins = unsafe { output.part(place(rois, roi, channel), height * width) };
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
            let bins = &gradient[place(rois, roi, channel)..][..height * width];
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
