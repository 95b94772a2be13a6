//! The fused operations on `flex` tensors.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::LayerBackend;
use super::conv::{Conv, Epilogue};
use super::norm::{self, Norm, Place, Statistics};
use super::pool::Buffer;
use super::{elementwise, norm::Backward};
use crate::ConvOptions;

/// The tensor with its values in row-major order from the start of its memory.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let contiguous = tensor.to_contiguous();
    drop(tensor); // else the memory would look shared
    contiguous
}

pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage::<f32>()
}

fn dims(tensor: &FlexTensor) -> [usize; 4] {
    tensor.shape().dims::<4>()
}

/// Runs an elementwise operation, in place when nobody else holds the memory.
pub(super) fn map(tensor: FlexTensor, operation: impl FnOnce(Place)) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    if let Some(values) = tensor.try_storage_mut::<f32>() {
        operation(Place::Same(values));
        return tensor;
    }
    let from = values(&tensor);
    let mut output = Buffer::new(from.len());
    operation(Place::Fresh { from, to: output.as_mut_slice() });
    output.into_tensor(tensor.shape())
}

/// Sizes of a convolution. The public function has checked them.
pub(super) fn conv(x: &FlexTensor, weight: &FlexTensor, options: ConvOptions) -> Conv {
    let [batch_size, in_channels, height, width] = dims(x);
    let [out_channels, _, kernel_height, kernel_width] = dims(weight);
    let (input, kernel) = ([height, width], [kernel_height, kernel_width]);
    let output = options.output_size(input, kernel).unwrap_or_default();
    let winograd = crate::winograd();
    Conv { options, batch_size, in_channels, out_channels, input, kernel, output, winograd }
}

/// `x` and `weight` contiguous.
pub(super) fn conv_forward(
    conv: &Conv,
    x: &FlexTensor,
    weight: &FlexTensor,
    [bias, residual]: [Option<FlexTensor>; 2],
    is_relu: bool,
) -> FlexTensor {
    let (bias, residual) = (bias.map(contiguous), residual.map(contiguous));
    let [bias, residual] = [&bias, &residual].map(|tensor| tensor.as_ref().map(values));
    let output = conv.forward(values(x), values(weight), Epilogue { bias, residual, is_relu });
    let [height, width] = conv.output;
    output.into_tensor(Shape::new([conv.batch_size, conv.out_channels, height, width]))
}

fn norm(x: &FlexTensor) -> Norm {
    let [batch_size, channels, height, width] = dims(x);
    Norm { batch_size, channels, plane: height * width }
}

fn vector(values: impl ExactSizeIterator<Item = f32>) -> FlexTensor {
    let mut buffer = Buffer::new(values.len());
    buffer.as_mut_slice().iter_mut().zip(values).for_each(|(to, value)| *to = value);
    let len = buffer.as_slice().len();
    buffer.into_tensor(Shape::new([len]))
}

/// What batch normalization returns and what its backward pass needs.
pub(super) struct BatchNorm {
    pub(super) output: FlexTensor,
    pub(super) mean: FlexTensor,
    pub(super) variance: FlexTensor,
    pub(super) statistics: Statistics,
}

/// `weight` contiguous. The output overwrites `x` when nobody else holds it.
pub(super) fn batch_norm(
    x: FlexTensor,
    weight: &FlexTensor,
    bias: FlexTensor,
    epsilon: f64,
) -> BatchNorm {
    let x = contiguous(x);
    let bias = contiguous(bias);
    let norm = norm(&x);
    let statistics = norm.statistics(values(&x));
    let coefficients = statistics.mean.iter().zip(&statistics.variance);
    let coefficients = coefficients.zip(values(weight).iter().zip(values(&bias)));
    let (scale, shift): (Vec<f32>, Vec<f32>) = coefficients
        .map(|((mean, variance), (&weight, &bias))| {
            let scale = f64::from(weight) / (variance + epsilon).sqrt();
            (scale as f32, (f64::from(bias) - mean * scale) as f32)
        })
        .unzip();
    let output = map(x, |place| norm.affine(place, &scale, &shift));
    let mean = vector(statistics.mean.iter().map(|&value| value as f32));
    let variance = vector(statistics.variance.iter().map(|&value| value as f32));
    BatchNorm { output, mean, variance, statistics }
}

/// Gradients of input, weight and bias. `x` and `weight` contiguous.
pub(super) fn batch_norm_backward(
    gradient: FlexTensor,
    x: &FlexTensor,
    weight: &FlexTensor,
    statistics: &Statistics,
    epsilon: f64,
) -> [FlexTensor; 3] {
    let gradient = contiguous(gradient);
    let norm = norm(x);
    let sums = norm.gradient_sums(values(&gradient), values(x), &statistics.mean);
    let Backward { coefficients, weight, bias } =
        norm::backward(&norm, &sums, statistics, values(weight), epsilon);
    let x = map(gradient, |place| norm.combine(place, values(x), &coefficients));
    let channels = Shape::new([norm.channels]);
    [x, weight.into_tensor(channels.clone()), bias.into_tensor(channels)]
}

pub(super) fn affine(x: FlexTensor, scale: &FlexTensor, shift: FlexTensor) -> FlexTensor {
    let shift = contiguous(shift);
    let norm = norm(&x);
    map(x, |place| norm.affine(place, values(scale), values(&shift)))
}

/// Gradients of input, scale and shift. `x` and `scale` contiguous.
pub(super) fn affine_backward(
    gradient: FlexTensor,
    x: &FlexTensor,
    scale: &FlexTensor,
) -> [FlexTensor; 3] {
    let gradient = contiguous(gradient);
    let norm = norm(x);
    let zeros = vec![0.0; norm.channels];
    let sums = norm.gradient_sums(values(&gradient), values(x), &zeros);
    let scale_gradient = vector(sums.iter().map(|&(_, product)| product as f32));
    let shift_gradient = vector(sums.iter().map(|&(sum, _)| sum as f32));
    let shift = vec![0.0; norm.channels];
    let x = map(gradient, |place| norm.affine(place, values(scale), &shift));
    [x, scale_gradient, shift_gradient]
}

pub(super) fn relu(x: FlexTensor) -> FlexTensor {
    map(x, elementwise::relu)
}

/// Overwrites whichever of the two nobody else holds.
pub(super) fn add_relu(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let (a, b) = if !a.is_unique() && b.is_unique() { (b, a) } else { (a, b) };
    let b = contiguous(b);
    map(a, |place| elementwise::add_relu(place, values(&b)))
}

/// The gradient where `output` is positive.
pub(super) fn mask(gradient: FlexTensor, output: &FlexTensor) -> FlexTensor {
    map(gradient, |place| elementwise::mask(place, values(output)))
}

impl LayerBackend for Flex {
    fn fused_conv2d(x: FlexTensor, weight: FlexTensor, options: ConvOptions) -> FlexTensor {
        let (x, weight) = (contiguous(x), contiguous(weight));
        conv_forward(&conv(&x, &weight, options), &x, &weight, [None, None], false)
    }

    fn fused_conv2d_bias(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        options: ConvOptions,
    ) -> FlexTensor {
        let (x, weight) = (contiguous(x), contiguous(weight));
        conv_forward(&conv(&x, &weight, options), &x, &weight, [Some(bias), None], false)
    }

    fn fused_conv2d_bias_relu(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        options: ConvOptions,
    ) -> FlexTensor {
        let (x, weight) = (contiguous(x), contiguous(weight));
        conv_forward(&conv(&x, &weight, options), &x, &weight, [Some(bias), None], true)
    }

    fn fused_conv2d_bias_add_relu(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        residual: FlexTensor,
        options: ConvOptions,
    ) -> FlexTensor {
        let (x, weight) = (contiguous(x), contiguous(weight));
        let conv = conv(&x, &weight, options);
        conv_forward(&conv, &x, &weight, [Some(bias), Some(residual)], true)
    }

    fn fused_batch_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f64,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let BatchNorm { output, mean, variance, .. } =
            batch_norm(x, &contiguous(weight), bias, epsilon);
        (output, mean, variance)
    }

    fn fused_affine(x: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> FlexTensor {
        affine(x, &contiguous(scale), shift)
    }

    fn fused_relu(x: FlexTensor) -> FlexTensor {
        relu(x)
    }

    fn fused_add_relu(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        add_relu(a, b)
    }
}
