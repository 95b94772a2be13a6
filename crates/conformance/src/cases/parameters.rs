//! The parameters of a module, all of them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use longtail_kernels::{HostReadError, read_floats};

use crate::case::{Quantity, Record};
use crate::input::values;

/// Gives every matrix and convolution weights by formula, as large as in a trained network, so that
/// scores are apart from each other.
pub(crate) fn filled<M: Module>(module: M, draw: usize) -> M {
    module.map(&mut Fill { draw, num_filled: 0 })
}

struct Fill {
    draw: usize,
    num_filled: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        self.num_filled += 1;
        let shape = param.dims();
        // Linear layers are `[inputs, outputs]`, convolutions `[outputs, inputs, height, width]`.
        let num_inputs = if D == 2 { shape[0] } else { shape[1..].iter().product() };
        let limit = (3.0 / num_inputs.max(1) as f32).sqrt();
        let name = format!("weights {} of draw {}", self.num_filled, self.draw);
        let values = values(&name, shape.iter().product());
        let values: Vec<f32> = values.into_iter().map(|value| value * limit).collect();
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(values, shape), &old.device());
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

/// Records every gradient there is.
pub(crate) fn record_gradients<M: Module>(
    module: &M,
    gradients: &GradientsParams,
    record: &mut Record,
) -> Result<(), HostReadError> {
    let mut visit = Visit { gradients: Some(gradients), record, result: Ok(()) };
    module.visit(&mut visit);
    visit.result
}

/// Records every parameter and statistic.
pub(crate) fn record_weights<M: Module>(
    module: &M,
    record: &mut Record,
) -> Result<(), HostReadError> {
    let mut visit = Visit { gradients: None, record, result: Ok(()) };
    module.visit(&mut visit);
    visit.result
}

struct Visit<'a> {
    gradients: Option<&'a GradientsParams>,
    record: &'a mut Record,
    result: Result<(), HostReadError>,
}

impl ModuleVisitor for Visit<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (quantity, value) = match self.gradients {
            Some(gradients) => (Quantity::Gradient, gradients.get::<D>(param.id)),
            None => (Quantity::Weights, Some(param.val())),
        };
        match value.map(read_floats) {
            Some(Ok(values)) => self.record.values(quantity, values),
            Some(Err(error)) => self.result = Err(error),
            None => {}
        }
    }
}
