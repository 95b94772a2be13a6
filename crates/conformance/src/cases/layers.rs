//! Layers of the models: forward and every gradient.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};
use longtail_kernels::{ConvOptions, add_relu, batch_norm_eval, batch_norm_train, conv2d, relu};
use longtail_models::{NormConfig, WeightInit};

use crate::case::{Case, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::{tensor, values};
use crate::tolerance::Arithmetic::{Products, Sums};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = CONVOLUTIONS
        .iter()
        .map(|spec| {
            let compute = |device: &Device, record: &mut Record| spec.compute(device, record);
            Case::new(spec.name, Products, compute).with_host(spec.host())
        })
        .collect();
    cases.extend([
        Case::new("linear", Products, linear),
        Case::new("relu, add and relu", Sums, activations),
        Case::new("batch norm, training", Sums, batch_norm_of_batch),
        Case::new("batch norm, inference", Sums, batch_norm_of_running),
        Case::new("group norm", Sums, group_norm),
        Case::new("max pooling", Sums, max_pooling),
    ]);
    cases
}

/// A convolution of two images.
struct Convolution {
    name: &'static str,
    channels: [usize; 2],
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
}

const fn convolution(
    name: &'static str,
    channels: [usize; 2],
    size: [usize; 2],
    [kernel, stride, padding]: [usize; 3],
) -> Convolution {
    Convolution { name, channels, size, kernel, stride, padding }
}

/// Kernel, stride and padding of the layers of a ResNet with a pyramid, on maps of several sizes.
const CONVOLUTIONS: [Convolution; 11] = [
    convolution("convolution 3x3", [6, 9], [9, 11], [3, 1, 1]),
    convolution("convolution 3x3, 16 x 24", [8, 8], [16, 24], [3, 1, 1]),
    convolution("convolution 3x3, 4 x 6", [32, 32], [4, 6], [3, 1, 1]),
    convolution("convolution 3x3, 2 x 3", [64, 8], [2, 3], [3, 1, 1]),
    convolution("convolution 3x3, 1 x 2", [8, 8], [1, 2], [3, 1, 1]),
    convolution("convolution 3x3, one pixel", [8, 45], [1, 1], [3, 1, 1]),
    convolution("convolution 3x3, stride 2", [5, 8], [9, 11], [3, 2, 1]),
    convolution("convolution 3x3, stride 2, 2 x 3", [8, 8], [2, 3], [3, 2, 1]),
    convolution("convolution 1x1", [7, 10], [9, 11], [1, 1, 0]),
    convolution("convolution 1x1, stride 2", [8, 6], [9, 11], [1, 2, 0]),
    convolution("convolution 7x7, stride 2", [3, 8], [9, 11], [7, 2, 3]),
];
const BATCH: usize = 2;

impl Convolution {
    fn out_size(&self) -> [usize; 2] {
        self.size.map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    fn shapes(&self) -> ([usize; 4], [usize; 4], [usize; 4]) {
        let [inputs, outputs] = self.channels;
        let [out_height, out_width] = self.out_size();
        (
            [BATCH, inputs, self.size[0], self.size[1]],
            [outputs, inputs, self.kernel, self.kernel],
            [BATCH, outputs, out_height, out_width],
        )
    }

    fn compute(&self, device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
        let device = &device.clone().autodiff();
        let (x, weight, output) = self.shapes();
        let x = tensor("x", x, device).require_grad();
        let weight = tensor("weight", weight, device).require_grad();
        let bias = tensor("bias", [self.channels[1]], device).require_grad();
        let options = ConvOptions {
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            ..Default::default()
        };
        let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), &options);
        record.tensor(Quantity::Forward, y.clone())?;
        let gradients = (y * tensor("gradient", output, device)).sum().backward();
        record.gradient("x", &x, &gradients)?;
        record.gradient("weight", &weight, &gradients)?;
        record.gradient("bias", &bias, &gradients)
    }

    /// Output and gradients, one product after the other.
    fn host(&self) -> Record {
        let (x_shape, weight_shape, out_shape) = self.shapes();
        let doubles = |name: &str, count: usize| -> Vec<f64> {
            values(name, count).into_iter().map(f64::from).collect()
        };
        let x = doubles("x", x_shape.iter().product());
        let weight = doubles("weight", weight_shape.iter().product());
        let bias = doubles("bias", out_shape[1]);
        let gradient = doubles("gradient", out_shape.iter().product());
        let mut y = vec![0.0; gradient.len()];
        let (mut dx, mut dweight, mut dbias) =
            (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; bias.len()]);
        for (at, g) in gradient.iter().enumerate() {
            let (column, row) = (at % out_shape[3], at / out_shape[3] % out_shape[2]);
            let channel = at / (out_shape[3] * out_shape[2]) % out_shape[1];
            let image = at / (out_shape[3] * out_shape[2] * out_shape[1]);
            y[at] = bias[channel];
            dbias[channel] += g;
            for tap in 0..x_shape[1] * self.kernel * self.kernel {
                let (j, i) = (tap % self.kernel, tap / self.kernel % self.kernel);
                let source = tap / (self.kernel * self.kernel);
                let place = |out: usize, offset: usize, size: usize| {
                    (out * self.stride + offset).checked_sub(self.padding).filter(|&p| p < size)
                };
                let (Some(v), Some(u)) =
                    (place(row, i, self.size[0]), place(column, j, self.size[1]))
                else {
                    continue;
                };
                let from = ((image * x_shape[1] + source) * self.size[0] + v) * self.size[1] + u;
                let by = channel * x_shape[1] * self.kernel * self.kernel + tap;
                y[at] += x[from] * weight[by];
                dx[from] += weight[by] * g;
                dweight[by] += x[from] * g;
            }
        }
        let mut record = Record::default();
        record.doubles(Quantity::Forward, y);
        [dx, dweight, dbias].into_iter().for_each(|d| record.doubles(Quantity::Gradient, d));
        record
    }
}

fn linear(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let x = tensor("x", [13, 21], device).require_grad();
    let weight = tensor("weight", [21, 17], device).require_grad();
    let y = x.clone().matmul(weight.clone());
    record.tensor(Quantity::Forward, y.clone())?;
    let gradients = (y * tensor("gradient", [13, 17], device)).sum().backward();
    record.gradient("x", &x, &gradients)?;
    record.gradient("weight", &weight, &gradients)
}

const SHAPE: [usize; 4] = [2, 8, 5, 7];

fn activations(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let a = tensor("a", SHAPE, device).require_grad();
    let b = tensor("b", SHAPE, device).require_grad();
    let y = add_relu(relu(a.clone()), b.clone());
    finish(y, &[("a", &a), ("b", &b)], record)
}

fn batch_norm_of_batch(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let x = tensor("x", SHAPE, device).require_grad();
    let weight = tensor("weight", [SHAPE[1]], device).require_grad();
    let bias = tensor("bias", [SHAPE[1]], device).require_grad();
    let out = batch_norm_train(x.clone(), weight.clone(), bias.clone(), 1e-5);
    record.tensor(Quantity::Forward, out.mean)?;
    record.tensor(Quantity::Forward, out.variance)?;
    record.tensor(Quantity::Forward, out.output.clone())?;
    let gradients = (out.output * tensor("gradient", SHAPE, device)).sum().backward();
    record.gradient("x", &x, &gradients)?;
    record.gradient("weight", &weight, &gradients)?;
    record.gradient("bias", &bias, &gradients)
}

fn batch_norm_of_running(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let x = tensor("x", SHAPE, device).require_grad();
    let table = |name: &str| tensor::<1>(name, [SHAPE[1]], device);
    let (weight, bias, mean) = (table("weight"), table("bias"), table("mean"));
    let y = batch_norm_eval(x.clone(), weight, bias, mean, table("variance") + 1.5, 1e-5);
    finish(y, &[("x", &x)], record)
}

fn group_norm(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let norm = NormConfig::group(4).init(SHAPE[1], &WeightInit::new(1, device))?;
    let x = tensor("x", SHAPE, device).require_grad();
    finish(norm.forward(x.clone()), &[("x", &x)], record)
}

fn max_pooling(device: &Device, record: &mut Record) -> Result<(), ConformanceError> {
    let x = tensor("x", SHAPE, &device.clone().autodiff()).require_grad();
    let y =
        max_pool2d(x.clone(), MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]));
    finish(y, &[("x", &x)], record)
}

/// The output, and the gradients of its weighted sum.
fn finish(
    y: Tensor<4>,
    inputs: &[(&'static str, &Tensor<4>)],
    record: &mut Record,
) -> Result<(), ConformanceError> {
    record.tensor(Quantity::Forward, y.clone())?;
    let weights = tensor("gradient", y.dims(), &y.device());
    let gradients = (y * weights).sum().backward();
    inputs.iter().try_for_each(|(name, input)| record.gradient(name, input, &gradients))
}
