//! The three passes of a two-dimensional convolution on contiguous memory.

use burn::tensor::Shape;
use rayon::prelude::*;

use super::channel_gradient::ChannelGradient;
use super::correlate::{Correlation, Weights};
use super::elementwise;
use super::norm::Place;
use super::planes::{Geometry, Planes, Tap};
use super::pointwise::{Grid, Pointwise};
use super::pointwise_gradient::PointwiseGradient;
use super::pool::Buffer;
use super::reduce::sum;
use super::weight_gradient::WeightGradient;
use super::winograd::Scheme;
use super::winograd_gradient::WinogradGradient;
use super::winograd_pass::WinogradPass;
use crate::{ConvOptions, Winograd};

/// Fewer channels than this leave most of a vector of channels empty.
const LANE_CHANNELS: usize = 16;
/// As above, for minimal filtering.
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
    fn groups(&self) -> usize {
        self.options.groups
    }

    fn group_in(&self) -> usize {
        self.in_channels / self.groups()
    }

    fn group_out(&self) -> usize {
        self.out_channels / self.groups()
    }

    pub(super) fn input_shape(&self) -> Shape {
        Shape::new([self.batch_size, self.in_channels, self.input[0], self.input[1]])
    }

    pub(super) fn weight_shape(&self) -> Shape {
        Shape::new([self.out_channels, self.group_in(), self.kernel[0], self.kernel[1]])
    }

    /// Output `y` reads input `y * stride + element * dilation - padding`.
    fn forward_planes(&self) -> Planes {
        let ConvOptions { stride, padding, dilation, .. } = self.options;
        let [height, width] = self.kernel;
        let tap = |element: usize| {
            let at = [element / width, element % width];
            let position =
                |axis: usize| (at[axis] * dilation[axis]) as isize - padding[axis] as isize;
            Tap { y: position(0), x: position(1), element }
        };
        Planes::new(Geometry {
            source: self.input,
            output: self.output,
            step: stride,
            taps: (0..height * width).map(tap).collect(),
        })
    }

    /// Input `phase + y * stride` is read by outputs `y + tap`; `None` without such an input.
    fn backward_planes(&self, phase: [usize; 2]) -> Option<Planes> {
        let ConvOptions { stride, padding, dilation, .. } = self.options;
        let [height, width] = self.kernel;
        let size =
            |axis: usize| Some(self.input[axis].checked_sub(phase[axis])?.div_ceil(stride[axis]));
        let position = |axis: usize, at: usize| {
            let distance = (phase[axis] + padding[axis]) as isize - (at * dilation[axis]) as isize;
            let stride = stride[axis] as isize;
            (distance.rem_euclid(stride) == 0).then_some(distance.div_euclid(stride))
        };
        let tap = |element: usize| {
            let (y, x) = (position(0, element / width)?, position(1, element % width)?);
            Some(Tap { y, x, element })
        };
        let output = [size(0)?, size(1)?];
        (output[0] > 0 && output[1] > 0).then(|| {
            Planes::new(Geometry {
                source: self.output,
                output,
                step: [1, 1],
                taps: (0..height * width).filter_map(tap).collect(),
            })
        })
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

    fn direct_forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
        let plane = self.output[0] * self.output[1];
        let planes = self.forward_planes();
        let (channels, elements) = (self.group_in(), self.kernel[0] * self.kernel[1]);
        let weights = Weights {
            values: weight,
            groups: self.groups(),
            rows: self.group_out(),
            channels,
            steps: [channels * elements, elements],
        }
        .pack(&planes.geometry().taps);
        Correlation {
            planes,
            batch_size: self.batch_size,
            groups: self.groups(),
            source_channels: channels,
            target_channels: self.group_out(),
            source: x,
            weights: weights.as_slice(),
            bias,
            target_plane: plane,
            first: 0,
            step: [self.output[1], 1],
        }
        .run(output);
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

    fn direct_input_gradient(&self, weight: &[f32], output_gradient: &[f32], gradient: &mut [f32]) {
        let [height, width] = self.input;
        let [stride_y, stride_x] = self.options.stride;
        let (channels, elements) = (self.group_in(), self.kernel[0] * self.kernel[1]);
        for phase in 0..stride_y * stride_x {
            let phase = [phase / stride_x, phase % stride_x];
            let Some(planes) = self.backward_planes(phase) else { continue };
            let weights = Weights {
                values: weight,
                groups: self.groups(),
                rows: channels,
                channels: self.group_out(),
                steps: [elements, channels * elements],
            }
            .pack(&planes.geometry().taps);
            Correlation {
                planes,
                batch_size: self.batch_size,
                groups: self.groups(),
                source_channels: self.group_out(),
                target_channels: channels,
                source: output_gradient,
                weights: weights.as_slice(),
                bias: None,
                target_plane: height * width,
                first: phase[0] * width + phase[1],
                step: [stride_y * width, stride_x],
            }
            .run(gradient);
        }
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
            Method::Direct if self.groups() == 1 && self.in_channels >= LANE_CHANNELS => {
                ChannelGradient {
                    batch_size: self.batch_size,
                    source_channels: self.in_channels,
                    target_channels: self.out_channels,
                    source_size: self.input,
                    target_size: self.output,
                    kernel: self.kernel,
                    stride: self.options.stride,
                    padding: self.options.padding,
                    dilation: self.options.dilation,
                    source: x,
                    output_gradient,
                }
                .run()
            }
            Method::Direct => WeightGradient {
                planes: self.forward_planes(),
                batch_size: self.batch_size,
                groups: self.groups(),
                source_channels: self.group_in(),
                target_channels: self.group_out(),
                source: x,
                output_gradient,
            }
            .run(),
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
