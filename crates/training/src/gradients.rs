//! Gradients of a whole module: global norm, clipping, averaging over micro-batches.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients by one factor so that their joint norm is at most `max_norm`.
///
/// The factor is `min(1, max_norm / (norm + 1e-6))` with the norm taken over every parameter at
/// once, as in `torch.nn.utils.clip_grad_norm_`. Nothing is read back to the host.
pub fn clip_global_norm<M: Module>(
    module: &M,
    mut gradients: GradientsParams,
    max_norm: f64,
) -> GradientsParams {
    let Some(norm) = global_norm(module, &gradients) else { return gradients };
    let factor = norm.add_scalar(1e-6).recip().mul_scalar(max_norm).clamp_max(1.0);
    module.visit(&mut Scale { gradients: &mut gradients, factor });
    gradients
}

/// The norm of all gradients together, `[1]`; `None` without any gradient.
pub fn global_norm<M: Module>(module: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    let mut squares = SumOfSquares { gradients, sum: None };
    module.visit(&mut squares);
    squares.sum.map(Tensor::sqrt)
}

/// Averages gradients over micro-batches, each weighted by its number of rows.
///
/// With losses that are means over rows, the result is the gradient of one batch with all rows.
#[derive(Debug, Default)]
pub struct GradientAverage {
    sum: GradientsParams,
    num_parts: usize,
    num_rows: usize,
}

impl GradientAverage {
    /// An average of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the gradients of a micro-batch of `num_rows` rows.
    pub fn add<M: Module>(&mut self, module: &M, gradients: GradientsParams, num_rows: usize) {
        if self.num_parts == 0 {
            self.sum = gradients;
        } else {
            // The first part waits unweighted, so that a single part passes through untouched.
            let first = if self.num_parts == 1 { self.num_rows as f64 } else { 1.0 };
            let sum = &mut self.sum;
            module.visit(&mut Add { sum, sum_weight: first, part: gradients, num_rows });
        }
        self.num_parts += 1;
        self.num_rows += num_rows;
    }

    /// Number of micro-batches taken in.
    pub fn num_parts(&self) -> usize {
        self.num_parts
    }

    /// The average so far; starts anew.
    pub fn take<M: Module>(&mut self, module: &M) -> GradientsParams {
        let Self { mut sum, num_parts, num_rows } = std::mem::take(self);
        if num_parts > 1 {
            let factor = 1.0 / num_rows.max(1) as f64;
            module.visit(&mut ScaleBy { gradients: &mut sum, factor });
        }
        sum
    }
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor.clone().reshape([1; D]));
        }
    }
}

struct ScaleBy<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for ScaleBy<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

struct Add<'a> {
    sum: &'a mut GradientsParams,
    sum_weight: f64,
    part: GradientsParams,
    num_rows: usize,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let sum = self.sum.remove::<D>(param.id);
        let sum = sum.map(|sum| match self.sum_weight {
            1.0 => sum,
            weight => sum.mul_scalar(weight),
        });
        let part = self.part.remove::<D>(param.id);
        let part = part.map(|part| part.mul_scalar(self.num_rows as f64));
        let total = match (sum, part) {
            (Some(sum), Some(part)) => sum + part,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return,
        };
        self.sum.register(param.id, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cross_entropy_gradients, inputs, linear};
    use longtail_testing::{assert_close, device, values};

    #[test]
    fn global_norm_equals_the_reference() {
        let device = device().autodiff();
        let layer = linear(&device);
        let (x, y) = inputs(&device);
        let gradients = cross_entropy_gradients(&layer, x, y);
        let norm = global_norm(&layer, &gradients).unwrap();
        // Printed by xtask/reference/training.py.
        assert_close("norm", &values(norm), &[0.7671588896357178], 1e-6);

        let clipped = clip_global_norm(&layer, gradients, 0.1);
        let norm = global_norm(&layer, &clipped).unwrap();
        assert_close("clipped norm", &values(norm), &[0.1], 1e-5);
    }

    #[test]
    fn small_gradients_are_not_clipped() {
        let device = device().autodiff();
        let layer = linear(&device);
        let (x, y) = inputs(&device);
        let before = cross_entropy_gradients(&layer, x.clone(), y.clone());
        let after = clip_global_norm(&layer, cross_entropy_gradients(&layer, x, y), 10.0);
        let id = layer.weight.id;
        assert_eq!(values(before.get::<2>(id).unwrap()), values(after.get::<2>(id).unwrap()));
    }

    #[test]
    fn uneven_micro_batches_average_to_the_whole_batch() {
        let device = device().autodiff();
        let layer = linear(&device);
        let (x, y) = inputs(&device);
        let whole = cross_entropy_gradients(&layer, x.clone(), y.clone());

        let mut average = GradientAverage::new();
        for rows in [0..1, 1..2, 2..4] {
            let part = (x.clone().slice([rows.clone()]), y.clone().slice([rows.clone()]));
            let gradients = cross_entropy_gradients(&layer, part.0, part.1);
            average.add(&layer, gradients, rows.len());
        }
        let average = average.take(&layer);

        let expected: Vec<f64> =
            values(whole.get::<2>(layer.weight.id).unwrap()).iter().map(|&v| v.into()).collect();
        let actual = values(average.get::<2>(layer.weight.id).unwrap());
        assert_close("gradient", &actual, &expected, 1e-6);
    }
}
