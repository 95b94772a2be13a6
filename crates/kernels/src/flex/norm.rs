//! Batch normalization: one pass over memory for the statistics, one for the output; the backward
//! pass in two as well.
#![allow(unsafe_code, reason = "one version per instruction set")]

use rayon::prelude::*;

use super::pool::Buffer;
use super::reduce::{sum, sum_and_product, sum_of_squares};
use super::simd::multiversion;

/// Values summed in single precision before the sum moves to double precision.
const PIECE: usize = 4096;
/// Values of a task, at least.
const TASK_VALUES: usize = 32 << 10;

/// Sizes of the normalized tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub(super) batch_size: usize,
    pub(super) channels: usize,
    /// Values per plane.
    pub(super) plane: usize,
}

/// Mean and biased variance per channel.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
}

multiversion! {
    fn affine(x: &[f32], scale: f32, shift: f32, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * scale + shift;
        }
    }
}

multiversion! {
    fn affine_in_place(y: &mut [f32], scale: f32, shift: f32) {
        for y in y {
            *y = *y * scale + shift;
        }
    }
}

multiversion! {
    /// `g = g * gradient_scale + x * input_scale + shift`
    fn combine(g: &mut [f32], x: &[f32], gradient_scale: f32, input_scale: f32, shift: f32) {
        for (g, x) in g.iter_mut().zip(x) {
            *g = *g * gradient_scale + (x * input_scale + shift);
        }
    }
}

multiversion! {
    fn combine_into(y: &mut [f32], g: &[f32], x: &[f32], gradient_scale: f32, input_scale: f32, shift: f32) {
        for (y, (g, x)) in y.iter_mut().zip(g.iter().zip(x)) {
            *y = g * gradient_scale + (x * input_scale + shift);
        }
    }
}

/// What one pass needs: a fresh output, or a tensor that is overwritten.
pub(super) enum Place<'a> {
    Fresh { from: &'a [f32], to: &'a mut [f32] },
    Same(&'a mut [f32]),
}

impl Norm {
    fn count(&self) -> f64 {
        (self.batch_size * self.plane) as f64
    }

    fn planes(&self) -> usize {
        self.batch_size * self.channels
    }

    /// Small planes share a task.
    fn planes_per_task(&self) -> usize {
        (TASK_VALUES / self.plane.max(1)).max(1)
    }

    /// One value pair per plane, summed over the images in their order.
    fn per_channel(&self, pairs: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let mut sums = vec![(0.0, 0.0); self.channels];
        for image in pairs.chunks_exact(self.channels.max(1)) {
            for (sum, pair) in sums.iter_mut().zip(image) {
                sum.0 += pair.0;
                sum.1 += pair.1;
            }
        }
        sums
    }

    /// `task(plane)` for every plane, results in order.
    fn map_planes(&self, task: impl Fn(usize) -> (f64, f64) + Send + Sync) -> Vec<(f64, f64)> {
        let mut pairs = vec![(0.0, 0.0); self.planes()];
        let planes = pairs.par_iter_mut().with_min_len(self.planes_per_task()).enumerate();
        planes.for_each(|(plane, pair)| *pair = task(plane));
        pairs
    }

    /// Stable for any mean: squared distances are taken from the mean of each piece while it is in
    /// the first-level cache, and pieces are joined in double precision.
    pub(super) fn statistics(&self, x: &[f32]) -> Statistics {
        let count = self.count();
        if count == 0.0 {
            let zeros = vec![0.0; self.channels];
            return Statistics { mean: zeros.clone(), variance: zeros };
        }
        let planes = self.map_planes(|plane| {
            let values = &x[plane * self.plane..(plane + 1) * self.plane];
            let (mut mean, mut squares, mut seen) = (0.0, 0.0, 0.0);
            for piece in values.chunks(PIECE) {
                let len = piece.len() as f64;
                let piece_mean = f64::from(sum(piece)) / len;
                let center = piece_mean as f32;
                let off = piece_mean - f64::from(center);
                let piece_squares = f64::from(sum_of_squares(piece, center)) - len * off * off;
                let distance = piece_mean - mean;
                let total = seen + len;
                mean += distance * len / total;
                squares += piece_squares + distance * distance * seen * len / total;
                seen = total;
            }
            (mean, squares)
        });
        let batch_size = self.batch_size as f64;
        let sums = self.per_channel(&planes);
        let mean: Vec<f64> = sums.iter().map(|(mean, _)| mean / batch_size).collect();
        let between: Vec<(f64, f64)> = planes
            .chunks_exact(self.channels)
            .flat_map(|image| {
                image.iter().zip(&mean).map(|((m, _), mean)| ((m - mean).powi(2), 0.0))
            })
            .collect();
        let between = self.per_channel(&between);
        let variance = sums.iter().zip(between).map(|((_, squares), (between, _))| {
            ((squares + between * self.plane as f64) / count).max(0.0)
        });
        let variance = variance.collect();
        Statistics { mean, variance }
    }

    /// `y = x * scale + shift` per channel.
    pub(super) fn affine(&self, place: Place, scale: &[f32], shift: &[f32]) {
        let plane = self.plane;
        match place {
            Place::Fresh { from, to } => self.write(to, |index, channel, y| {
                affine(
                    &from[index * plane..(index + 1) * plane],
                    scale[channel],
                    shift[channel],
                    y,
                );
            }),
            Place::Same(values) => self.write(values, |_, channel, y| {
                affine_in_place(y, scale[channel], shift[channel]);
            }),
        }
    }

    /// Per channel: the sum of the output gradient, and of it times `x - mean`.
    pub(super) fn gradient_sums(
        &self,
        gradient: &[f32],
        x: &[f32],
        mean: &[f64],
    ) -> Vec<(f64, f64)> {
        let planes = self.map_planes(|plane| {
            let center = mean[plane % self.channels] as f32;
            let range = plane * self.plane..(plane + 1) * self.plane;
            let pieces = gradient[range.clone()].chunks(PIECE).zip(x[range].chunks(PIECE));
            pieces.fold((0.0, 0.0), |(sums, products), (gradient, x)| {
                let (sum, product) = sum_and_product(gradient, x, center);
                (sums + f64::from(sum), products + f64::from(product))
            })
        });
        self.per_channel(&planes)
    }

    /// `gradient * a + x * b + c` per channel with `coefficients[channel] = [a, b, c]`.
    pub(super) fn combine(&self, place: Place, x: &[f32], coefficients: &[[f32; 3]]) {
        let plane = self.plane;
        match place {
            Place::Fresh { from, to } => self.write(to, |index, channel, y| {
                let range = index * plane..(index + 1) * plane;
                let [a, b, c] = coefficients[channel];
                combine_into(y, &from[range.clone()], &x[range], a, b, c);
            }),
            Place::Same(values) => self.write(values, |index, channel, y| {
                let [a, b, c] = coefficients[channel];
                combine(y, &x[index * plane..(index + 1) * plane], a, b, c);
            }),
        }
    }

    /// `task(plane, channel, values)` for every plane of an output.
    fn write(&self, values: &mut [f32], task: impl Fn(usize, usize, &mut [f32]) + Send + Sync) {
        assert_eq!(values.len(), self.planes() * self.plane);
        let planes = values.par_chunks_exact_mut(self.plane.max(1));
        let planes = planes.with_min_len(self.planes_per_task()).enumerate();
        planes.for_each(|(plane, values)| task(plane, plane % self.channels, values));
    }
}

/// Input gradient of a batch normalization, as coefficients of [`Norm::combine`], and the gradients
/// of weight and bias.
pub(super) struct Backward {
    pub(super) coefficients: Vec<[f32; 3]>,
    pub(super) weight: Buffer,
    pub(super) bias: Buffer,
}

/// `dx = s (g - mean(g) - xhat mean(g xhat))` with `s = weight / std`.
pub(super) fn backward(
    norm: &Norm,
    sums: &[(f64, f64)],
    statistics: &Statistics,
    weight: &[f32],
    epsilon: f64,
) -> Backward {
    let count = norm.count().max(1.0);
    let mut weight_gradient = Buffer::new(norm.channels);
    let mut bias_gradient = Buffer::new(norm.channels);
    let mut coefficients = Vec::with_capacity(norm.channels);
    for (channel, &(sum, product)) in sums.iter().enumerate() {
        let inverse_std = (statistics.variance[channel] + epsilon).sqrt().recip();
        let a = f64::from(weight[channel]) * inverse_std;
        let b = -a * inverse_std * inverse_std * product / count;
        let c = -a * sum / count - b * statistics.mean[channel];
        coefficients.push([a as f32, b as f32, c as f32]);
        weight_gradient.as_mut_slice()[channel] = (product * inverse_std) as f32;
        bias_gradient.as_mut_slice()[channel] = sum as f32;
    }
    Backward { coefficients, weight: weight_gradient, bias: bias_gradient }
}
