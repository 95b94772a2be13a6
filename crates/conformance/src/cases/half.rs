//! Forward passes in half precision, where the device has it.

use burn::tensor::{Device, FloatDType};
use longtail_kernels::{ConvOptions, conv2d, relu};

use crate::case::{Case, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::tensor;
use crate::tolerance::Arithmetic::Products;

pub(crate) fn cases() -> Vec<Case> {
    let compute = |dtype: FloatDType, quantity: Quantity| {
        move |device: &Device, record: &mut Record| {
            if !device.supports_dtype(dtype) {
                return Err(ConformanceError::NotThere { what: "half precision" });
            }
            layers(device, record, dtype, quantity)
        }
    };
    let case = |dtype: FloatDType, quantity: Quantity| {
        let mut host = Record::default();
        host_layers(&mut host, quantity);
        Case::new("layers in half precision", Products, compute(dtype, quantity)).with_host(host)
    };
    vec![case(FloatDType::F16, Quantity::Float16), case(FloatDType::BF16, Quantity::Bfloat16)]
}

const INPUTS: usize = 6;
const OUTPUTS: usize = 8;
const SIZE: [usize; 2] = [5, 7];
const CLASSES: usize = 9;

/// A convolution, a ReLU, a mean over places and a linear layer.
fn layers(
    device: &Device,
    record: &mut Record,
    dtype: FloatDType,
    quantity: Quantity,
) -> Result<(), ConformanceError> {
    let x = tensor("x", [2, INPUTS, SIZE[0], SIZE[1]], device).cast(dtype);
    let weight = tensor("weight", [OUTPUTS, INPUTS, 1, 1], device).cast(dtype);
    let map = relu(conv2d(x, weight, None, &ConvOptions::default()));
    record.tensor(quantity, map.clone())?;
    let features = map.mean_dim(3).mean_dim(2).reshape([2, OUTPUTS]);
    let classifier = tensor("classifier", [OUTPUTS, CLASSES], device).cast(dtype);
    record.tensor(quantity, features.matmul(classifier))
}

fn host_layers(record: &mut Record, quantity: Quantity) {
    let doubles = |name: &str, count: usize| -> Vec<f64> {
        crate::input::values(name, count).into_iter().map(f64::from).collect()
    };
    let places = SIZE[0] * SIZE[1];
    let x = doubles("x", 2 * INPUTS * places);
    let weight = doubles("weight", OUTPUTS * INPUTS);
    let classifier = doubles("classifier", OUTPUTS * CLASSES);
    let mut map = vec![0.0; 2 * OUTPUTS * places];
    let mut logits = vec![0.0; 2 * CLASSES];
    for image in 0..2 {
        for output in 0..OUTPUTS {
            let mut mean = 0.0;
            for place in 0..places {
                let sum: f64 = (0..INPUTS)
                    .map(|i| weight[output * INPUTS + i] * x[(image * INPUTS + i) * places + place])
                    .sum();
                map[(image * OUTPUTS + output) * places + place] = sum.max(0.0);
                mean += sum.max(0.0) / places as f64;
            }
            for class in 0..CLASSES {
                logits[image * CLASSES + class] += mean * classifier[output * CLASSES + class];
            }
        }
    }
    record.doubles(quantity, map);
    record.doubles(quantity, logits);
}
