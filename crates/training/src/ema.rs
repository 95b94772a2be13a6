//! An exponential moving average of a model's weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// A second model whose floats follow a trained one: `ema = decay * ema + (1 - decay) * model`.
///
/// It owns copies of everything, batch-norm running statistics included, and lives outside
/// autodiff. Integers and booleans are taken over as they are at the start.
#[derive(Clone, Debug)]
pub struct Ema<M> {
    model: M,
    decay: f64,
}

impl<M: Module> Ema<M> {
    /// Starts at the present weights of `model`.
    pub fn new(model: &M, decay: f64) -> Self {
        Self { model: model.valid().map(&mut Copy), decay }
    }

    /// Moves the average towards the present weights of `model`.
    pub fn update(self, model: &M) -> Self {
        let mut present = Present::default();
        model.visit(&mut present);
        let mut follow = Follow { present: present.0, decay: self.decay };
        Self { model: self.model.map(&mut follow), decay: self.decay }
    }

    /// The averaged model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The averaged model with other weights, of the same architecture.
    pub(crate) fn with_model(self, model: M) -> Self {
        Self { model, ..self }
    }
}

/// Gives every value that moves storage of its own, without a way over the host.
struct Copy;

impl ModuleMapper for Copy {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| old.mul_scalar(1.0))
    }
}

/// The floats of the trained model by id (the average keeps the ids of its origin).
#[derive(Default)]
struct Present(GradientsParams);

impl ModuleVisitor for Present {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register::<D>(param.id, param.val().without_autodiff());
    }
}

struct Follow {
    present: GradientsParams,
    decay: f64,
}

impl Follow {
    fn present<const D: usize>(&mut self, id: ParamId) -> Option<Tensor<D>> {
        self.present.remove::<D>(id)
    }
}

impl ModuleMapper for Follow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(present) = self.present::<D>(param.id) else { return param };
        let decay = self.decay;
        param.map(|average| average.mul_scalar(decay) + present.mul_scalar(1.0 - decay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer_config::OptimizerConfig;
    use crate::testing::{cross_entropy_gradients, inputs, linear};
    use longtail_testing::{assert_close, device, values};

    #[test]
    fn follows_the_closed_form_and_does_not_alias() {
        let device = device().autodiff();
        let mut layer = linear(&device);
        let first: Vec<f64> = values(layer.weight.val()).iter().map(|&v| v.into()).collect();
        let mut ema = Ema::new(&layer, 0.9);
        let mut optimizer = OptimizerConfig::sgd(0.5).init();
        let mut expected = first.clone();

        for _ in 0..3 {
            let (x, y) = inputs(&device);
            let gradients = cross_entropy_gradients(&layer, x, y);
            layer = optimizer.step(0.5, layer, gradients);
            let before_update = values(ema.model().weight.val());
            assert_close("untouched by the step", &before_update, &expected, 1e-6);
            ema = ema.update(&layer);
            let present = values(layer.weight.val());
            for (average, value) in expected.iter_mut().zip(present) {
                *average = 0.9 * *average + 0.1 * f64::from(value);
            }
        }

        assert_close("average", &values(ema.model().weight.val()), &expected, 1e-6);
        assert!(!ema.model().weight.val().is_autodiff());
        assert_ne!(values(layer.weight.val()), values(ema.model().weight.val()));
    }
}
