//! Two-dimensional convolution.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{Tensor, assert_shape};

#[cfg(feature = "flex")]
use crate::flex::{self, LayerBackend};
use crate::{add_relu, composed, relu};

/// Geometry of [`conv2d`]; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Step between output positions, in input pixels. Default: 1.
    pub stride: [usize; 2],
    /// Zeros added on each side. Default: 0.
    pub padding: [usize; 2],
    /// Step between kernel elements, in input pixels. Default: 1.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other. Default: 1.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl ConvOptions {
    /// Size `[height, width]` of the output, or `None` if the dilated kernel does not fit into the
    /// padded input or an option is 0 that must not be.
    pub fn output_size(&self, input: [usize; 2], kernel: [usize; 2]) -> Option<[usize; 2]> {
        let size = |axis: usize| {
            let extent = self.dilation[axis] * kernel[axis].checked_sub(1)? + 1;
            let room = (input[axis] + 2 * self.padding[axis]).checked_sub(extent)?;
            Some(room.checked_div(self.stride[axis])? + 1)
        };
        if self.dilation.contains(&0) || self.groups == 0 {
            return None;
        }
        Some([size(0)?, size(1)?])
    }
}

/// Cross-correlates `x` with `weight`, as PyTorch's `conv2d`.
/// # Shapes
/// - x: `[batch_size, in_channels, height, width]`
/// - weight: `[out_channels, in_channels / groups, kernel_height, kernel_width]`
/// - bias: `[out_channels]`
/// - output: `[batch_size, out_channels, out_height, out_width]`, see [`ConvOptions::output_size`]
/// # Panics
/// If the shapes and options disagree or the kernel does not fit into the padded input.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: &ConvOptions,
) -> Tensor<4> {
    check(&x, &weight, bias.as_ref(), options);
    #[cfg(feature = "flex")]
    if is_fused_on(&x, &weight) {
        let (x, weight, options) = (x.into_dispatch(), weight.into_dispatch(), *options);
        return Tensor::from_dispatch(match bias {
            None => <Dispatch as LayerBackend>::fused_conv2d(x, weight, options),
            Some(bias) => {
                let bias = bias.into_dispatch();
                <Dispatch as LayerBackend>::fused_conv2d_bias(x, weight, bias, options)
            }
        });
    }
    composed::conv2d(x, weight, bias, options)
}

/// Panics if the shapes and options disagree. Returns the shape of the output.
fn check(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions,
) -> [usize; 4] {
    let [batch_size, in_channels, height, width] = x.dims();
    let [out_channels, group_channels, kernel_height, kernel_width] = weight.dims();
    let Some([out_height, out_width]) =
        options.output_size([height, width], [kernel_height, kernel_width])
    else {
        panic!(
            "a kernel of {kernel_height}x{kernel_width} with {options:?} does not fit into an \
             input of {height}x{width}"
        )
    };
    let groups = options.groups;
    assert!(
        in_channels == groups * group_channels && out_channels.is_multiple_of(groups),
        "{in_channels} input channels, a weight of [{out_channels}, {group_channels}, ..] and \
         {groups} groups do not agree"
    );
    if let Some(bias) = bias {
        assert_shape!(bias, [out_channels]);
    }
    [batch_size, out_channels, out_height, out_width]
}

#[cfg(feature = "flex")]
fn is_fused_on(x: &Tensor<4>, weight: &Tensor<4>) -> bool {
    flex::takes(x) && x.dims()[1] * weight.dims()[0] > 0
}

/// `max(conv2d(x, weight) + bias, 0)`: a convolution with its activation in the same pass.
/// # Shapes
/// As in [`conv2d`].
/// # Panics
/// As [`conv2d`].
pub fn conv2d_bias_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: &ConvOptions,
) -> Tensor<4> {
    check(&x, &weight, Some(&bias), options);
    #[cfg(feature = "flex")]
    if is_fused_on(&x, &weight) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as LayerBackend>::fused_conv2d_bias_relu(
            x, weight, bias, *options,
        ));
    }
    relu(conv2d(x, weight, Some(bias), options))
}

/// `max(conv2d(x, weight) + bias + residual, 0)`: the end of a residual block in one pass.
/// # Shapes
/// As in [`conv2d`]; the residual has the shape of the output.
/// # Panics
/// As [`conv2d`], and if the shape of the residual is not that of the output.
pub fn conv2d_bias_add_relu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Tensor<4>,
    options: &ConvOptions,
) -> Tensor<4> {
    let [batch_size, out_channels, height, width] = check(&x, &weight, Some(&bias), options);
    assert_shape!(residual, [batch_size, out_channels, height, width]);
    #[cfg(feature = "flex")]
    if is_fused_on(&x, &weight) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        let residual = residual.into_dispatch();
        return Tensor::from_dispatch(<Dispatch as LayerBackend>::fused_conv2d_bias_add_relu(
            x, weight, bias, residual, *options,
        ));
    }
    add_relu(conv2d(x, weight, Some(bias), options), residual)
}
