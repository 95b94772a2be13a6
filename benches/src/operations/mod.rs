//! Our side of every operation, called as a user calls it.

mod backbone;
mod conv;
mod evaluation;
mod loader;
mod loss;
mod nms;
mod roi_align;

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use crate::noise::values;
use crate::work::{Pass, Work};

/// Why one case did not run; the others go on.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// One operation with its inputs.
pub(crate) trait Operation {
    /// Runs it once, to the end on the device, and frees what it made.
    fn run(&mut self) -> Result<(), Failure>;

    /// A number that the peer has to have as well. Called after one run; not timed.
    fn check(&mut self) -> Result<Option<f64>, Failure>;
}

/// Makes the inputs. `scratch` is a folder for files that both sides read.
pub(crate) fn build(
    work: &Work,
    pass: Pass,
    device: &Device,
    scratch: &Path,
) -> Result<Box<dyn Operation>, Failure> {
    let device = match pass {
        Pass::Forward => device.clone(),
        Pass::ForwardBackward => device.clone().autodiff(),
    };
    Ok(match work {
        Work::Loss(shape) => Box::new(loss::Loss::new(shape, &device)?),
        Work::RoiAlign { batch, rois, channels, image } => {
            Box::new(roi_align::RoiAlign::new([*batch, *rois, *channels, *image], pass, &device))
        }
        Work::Nms { boxes, groups } => Box::new(nms::Nms::new(*boxes, *groups)),
        Work::Conv(shape) => Box::new(conv::Conv::new(shape, pass, &device)),
        Work::Backbone { network, batch, size } => {
            Box::new(backbone::Backbone::new(*network, [*batch, *size], pass, &device)?)
        }
        Work::Detector { .. } => return Err("a detector is measured by stage".into()),
        Work::Evaluation { images, classes } => {
            Box::new(evaluation::Evaluation::new(*images, *classes, scratch)?)
        }
        Work::Loader { images } => Box::new(loader::Epoch::new(*images, scratch)?),
    })
}

/// Noise on the device; a leaf of the graph where the device keeps one.
fn tensor<const D: usize>(
    shape: [usize; D],
    seed: u32,
    range: [f32; 2],
    device: &Device,
) -> Tensor<D> {
    let values = values(shape.iter().product(), seed, range);
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// Mean absolute value, read back.
fn magnitude<const D: usize>(tensor: Tensor<D>) -> f64 {
    tensor.abs().mean().into_scalar::<f32>().into()
}
