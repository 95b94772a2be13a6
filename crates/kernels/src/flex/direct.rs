//! The passes of any convolution: products with shifted planes.

use super::channel_gradient::ChannelGradient;
use super::conv::Conv;
use super::correlate::Correlation;
use super::packed_weights::Weights;
use super::planes::{Geometry, Planes, Tap};
use super::pool::Buffer;
use super::weight_gradient::WeightGradient;
use crate::ConvOptions;

/// Fewer channels than this leave most of a vector of channels empty.
const LANE_CHANNELS: usize = 16;

impl Conv {
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

    pub(super) fn direct_forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        output: &mut [f32],
    ) {
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

    pub(super) fn direct_input_gradient(
        &self,
        weight: &[f32],
        output_gradient: &[f32],
        gradient: &mut [f32],
    ) {
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

    pub(super) fn direct_weight_gradient(&self, x: &[f32], output_gradient: &[f32]) -> Buffer {
        if self.groups() == 1 && self.in_channels >= LANE_CHANNELS {
            return ChannelGradient {
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
            .run();
        }
        WeightGradient {
            planes: self.forward_planes(),
            batch_size: self.batch_size,
            groups: self.groups(),
            source_channels: self.group_in(),
            target_channels: self.group_out(),
            source: x,
            output_gradient,
        }
        .run()
    }
}
