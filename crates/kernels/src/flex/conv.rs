//! The three passes of a two-dimensional convolution on contiguous memory.

use burn::tensor::Shape;
use rayon::prelude::*;

use super::elementwise;
use super::norm::Place;
use super::pixels::Grid;
use super::pointwise::Pointwise;
use super::pointwise_gradient::PointwiseGradient;
use super::pool::Buffer;
use super::reduce::sum;
use super::winograd::Scheme;
use super::winograd_gradient::WinogradGradient;
use super::winograd_pass::WinogradPass;
use crate::{ConvOptions, Winograd};

/// Fewer channels than this leave most of a vector of channels empty.
const WINOGRAD_CHANNELS: usize = 16;

/// Sizes of a convolution; weights are `[out_channels, in_channels / groups, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) options: ConvOptions,
    pub(super) batch_size: usize,
    pub(super) in_channels: usize,
    pub(super) out_channels: usize,
    pub(super) input: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) winograd: Winograd,
}

/// What follows the sums, in this order: bias, residual (laid out as the output), ReLU.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epilogue<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<&'a [f32]>,
    pub(super) is_relu: bool,
}

/// The ways to compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// 1 x 1 without padding: one product of matrices.
    Pointwise,
    /// 3 x 3 with stride 1.
    Winograd(Scheme),
    /// Anything.
    Direct,
}

impl Conv {
    pub(super) fn groups(&self) -> usize {
        self.options.groups
    }

    pub(super) fn group_in(&self) -> usize {
        self.in_channels / self.groups()
    }

    pub(super) fn group_out(&self) -> usize {
        self.out_channels / self.groups()
    }

    pub(super) fn input_shape(&self) -> Shape {
        Shape::new([self.batch_size, self.in_channels, self.input[0], self.input[1]])
    }

    pub(super) fn weight_shape(&self) -> Shape {
        Shape::new([self.out_channels, self.group_in(), self.kernel[0], self.kernel[1]])
    }

    fn method(&self) -> Method {
        let ConvOptions { stride, padding, dilation, groups } = self.options;
        if groups > 1 {
            return Method::Direct;
        }
        if self.kernel == [1, 1] && padding == [0, 0] {
            return Method::Pointwise;
        }
        let is_small = self.kernel == [3, 3] && stride == [1, 1] && dilation == [1, 1];
        let has_channels = self.in_channels.min(self.out_channels) >= WINOGRAD_CHANNELS;
        if !is_small || padding.iter().any(|&padding| padding > 2) || !has_channels {
            return Method::Direct;
        }
        match self.winograd {
            Winograd::Off => Method::Direct,
            Winograd::F2x2 => Method::Winograd(Scheme::Two),
            Winograd::F4x4 => {
                // Whichever needs fewer products; the smaller tiles round less.
                let products = |scheme: Scheme| {
                    let tiles = self.output.map(|size| size.div_ceil(scheme.tile()));
                    tiles[0] * tiles[1] * scheme.positions()
                };
                let [two, four] = [Scheme::Two, Scheme::Four].map(products);
                Method::Winograd(if two <= four { Scheme::Two } else { Scheme::Four })
            }
        }
    }

    /// Pixels of the input that a 1 x 1 kernel sees.
    fn seen_pixels(&self) -> Grid {
        let [height, width] = self.input;
        let [stride_y, stride_x] = self.options.stride;
        Grid {
            plane: height * width,
            pixels: self.output[0] * self.output[1],
            columns: self.output[1],
            steps: [stride_y * width, stride_x],
        }
    }

    pub(super) fn forward(&self, x: &[f32], weight: &[f32], epilogue: Epilogue) -> Buffer {
        let plane = self.output[0] * self.output[1];
        let mut output = Buffer::new(self.batch_size * self.out_channels * plane);
        let Epilogue { bias, residual, is_relu } = epilogue;
        match self.method() {
            Method::Pointwise => Pointwise {
                batch_size: self.batch_size,
                source_channels: self.in_channels,
                target_channels: self.out_channels,
                source_grid: self.seen_pixels(),
                target_grid: Grid::dense(self.output),
                source: x,
                weight,
                weight_steps: [self.in_channels, 1],
                bias,
                residual,
                is_relu,
            }
            .run(output.as_mut_slice()),
            Method::Winograd(scheme) => WinogradPass {
                scheme,
                batch_size: self.batch_size,
                source_channels: self.in_channels,
                target_channels: self.out_channels,
                source_size: self.input,
                target_size: self.output,
                padding: self.options.padding,
                source: x,
                weight,
                weight_steps: [self.in_channels * 9, 9],
                is_flipped: false,
                bias,
                residual,
                is_relu,
            }
            .run(output.as_mut_slice()),
            Method::Direct => {
                self.direct_forward(x, weight, bias, output.as_mut_slice());
                let place = Place::Same(output.as_mut_slice());
                match residual {
                    Some(residual) if is_relu => elementwise::add_relu(place, residual),
                    Some(residual) => elementwise::add(place, residual),
                    None if is_relu => elementwise::relu(place),
                    None => {}
                }
            }
        }
        output
    }

    pub(super) fn input_gradient(&self, weight: &[f32], output_gradient: &[f32]) -> Buffer {
        let [height, width] = self.input;
        let mut gradient = Buffer::new(self.batch_size * self.in_channels * height * width);
        match self.method() {
            Method::Pointwise => {
                let target_grid = self.seen_pixels();
                if !target_grid.is_dense() || target_grid.pixels < target_grid.plane {
                    elementwise::clear(gradient.as_mut_slice());
                }
                Pointwise {
                    batch_size: self.batch_size,
                    source_channels: self.out_channels,
                    target_channels: self.in_channels,
                    source_grid: Grid::dense(self.output),
                    target_grid,
                    source: output_gradient,
                    weight,
                    weight_steps: [1, self.in_channels],
                    bias: None,
                    residual: None,
                    is_relu: false,
                }
                .run(gradient.as_mut_slice());
            }
            Method::Winograd(scheme) => WinogradPass {
                scheme,
                batch_size: self.batch_size,
                source_channels: self.out_channels,
                target_channels: self.in_channels,
                source_size: self.output,
                target_size: self.input,
                padding: self.options.padding.map(|padding| 2 - padding),
                source: output_gradient,
                weight,
                weight_steps: [9, self.in_channels * 9],
                is_flipped: true,
                bias: None,
                residual: None,
                is_relu: false,
            }
            .run(gradient.as_mut_slice()),
            Method::Direct => {
                self.direct_input_gradient(weight, output_gradient, gradient.as_mut_slice());
            }
        }
        gradient
    }

    pub(super) fn weight_gradient(&self, x: &[f32], output_gradient: &[f32]) -> Buffer {
        match self.method() {
            Method::Pointwise => PointwiseGradient {
                batch_size: self.batch_size,
                source_channels: self.in_channels,
                target_channels: self.out_channels,
                source_grid: self.seen_pixels(),
                source: x,
                output_gradient,
            }
            .run(),
            Method::Winograd(scheme) => WinogradGradient {
                scheme,
                batch_size: self.batch_size,
                source_channels: self.in_channels,
                target_channels: self.out_channels,
                source_size: self.input,
                target_size: self.output,
                padding: self.options.padding,
                source: x,
                output_gradient,
            }
            .run(),
            Method::Direct => self.direct_weight_gradient(x, output_gradient),
        }
    }

    pub(super) fn bias_gradient(&self, output_gradient: &[f32]) -> Buffer {
        let plane = self.output[0] * self.output[1];
        let mut gradient = Buffer::zeros(self.out_channels);
        if self.batch_size * plane == 0 {
            return gradient;
        }
        let total = |channel: usize| -> f32 {
            let planes = output_gradient.chunks_exact(plane).skip(channel);
            planes.step_by(self.out_channels).map(|plane| f64::from(sum(plane))).sum::<f64>() as f32
        };
        let totals: Vec<f32> = (0..self.out_channels).into_par_iter().map(total).collect();
        gradient.as_mut_slice().copy_from_slice(&totals);
        gradient
    }
}
