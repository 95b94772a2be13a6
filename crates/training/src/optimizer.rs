//! SGD with momentum and AdamW over a whole module, with state kept by parameter path.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use longtail_kernels::{HostReadError, SgdTerms, read_back, sgd_step};

use crate::optimizer_config::{DecayedParameters, OptimizerConfig};
use crate::tensors::NamedTensors;

impl OptimizerConfig {
    /// An optimizer without any state yet.
    pub fn init(&self) -> Optimizer {
        Optimizer { config: self.clone(), steps: 0, moments: Default::default() }
    }
}

/// Updates the parameters of a module from their gradients.
///
/// Burn's own `ModuleOptimizer` restores its state on the default device, which may be one that
/// this machine cannot use; here state goes to the device of its parameter.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    steps: u64,
    moments: [GradientsParams; 2], // momentum; or first and second moment
}

const MOMENTS: [&str; 2] = ["moment_1", "moment_2"];

impl Optimizer {
    /// One step at learning rate `lr`. Parameters without a gradient stay as they are.
    ///
    /// - SGD: `g += weight_decay * p`, `m = momentum * m + g` (first `m = g`), `p -= lr * m`,
    ///   or `p -= lr * (g + momentum * m)` with Nesterov.
    /// - AdamW: `p *= 1 - lr * weight_decay`, then Adam with bias correction by the number of
    ///   steps of the whole optimizer.
    pub fn step<M: Module>(&mut self, lr: f64, module: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        module.map(&mut Step { lr, gradients, optimizer: self })
    }

    /// As [`step`](Self::step), but tensors that only `module` holds are written over, where the
    /// device can.
    pub fn update<M: Module>(&mut self, lr: f64, module: &mut M, gradients: GradientsParams) {
        // A module can't be moved out of a reference; one without tensors stands in meanwhile.
        let emptied = module.clone().map(&mut Emptied);
        let owned = std::mem::replace(module, emptied);
        *module = self.step(lr, owned, gradients);
    }

    /// The momentum, or the first moment, of a parameter that has had a step.
    pub(crate) fn first_moment<const D: usize>(&self, id: ParamId) -> Option<Tensor<D>> {
        self.moments[0].get::<D>(id)
    }

    /// The same without any state.
    pub(crate) fn fresh(&self) -> Self {
        self.config.init()
    }

    /// Number of steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Copies the state to the host, as `prefix.path.of.parameter.moment_1`.
    /// # Errors
    /// If the device fails.
    pub(crate) fn collect<M: Module>(
        &self,
        prefix: &str,
        module: &M,
        tensors: &mut NamedTensors,
    ) -> Result<(), HostReadError> {
        let path = vec![prefix.to_string()];
        let mut collect = Collect { path, optimizer: self, tensors, result: Ok(()) };
        module.visit(&mut collect);
        collect.result
    }

    /// Takes the state of a run after `steps` steps out of `tensors`. A parameter without an
    /// entry has had no step.
    pub(crate) fn restore<M: Module>(
        &mut self,
        prefix: &str,
        module: &M,
        tensors: &mut NamedTensors,
        steps: u64,
    ) -> Result<(), String> {
        self.steps = steps;
        let path = vec![prefix.to_string()];
        let mut restore = Restore { path, optimizer: self, tensors, problem: None };
        module.visit(&mut restore);
        restore.problem.map_or(Ok(()), Err)
    }
}

/// Leaves nothing of a tensor.
struct Emptied;

impl ModuleMapper for Emptied {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| Tensor::empty([0; D], &tensor.device()))
    }
}

struct Step<'a> {
    lr: f64,
    gradients: GradientsParams,
    optimizer: &'a mut Optimizer,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        let Some(gradient) = self.gradients.remove::<D>(id) else { return param };
        let [first, second] = &mut self.optimizer.moments;
        let steps = self.optimizer.steps;
        let lr = self.lr;
        param.map(|old| {
            let is_require_grad = old.is_require_grad();
            let value = old.without_autodiff();
            let new = match self.optimizer.config {
                OptimizerConfig::Sgd { momentum, nesterov, weight_decay, decayed, .. } => {
                    let weight_decay = if is_decayed::<D>(decayed) { weight_decay } else { 0.0 };
                    let terms = SgdTerms { lr, momentum, weight_decay, nesterov };
                    let velocity = first.remove::<D>(id).unwrap_or_else(|| gradient.zeros_like());
                    let (value, velocity) = sgd_step(value, gradient, velocity, terms);
                    if momentum > 0.0 {
                        first.register(id, velocity);
                    }
                    value
                }
                OptimizerConfig::Adamw {
                    beta_1, beta_2, epsilon, weight_decay, decayed, ..
                } => {
                    let value = match is_decayed::<D>(decayed) {
                        true => value.mul_scalar(1.0 - lr * weight_decay),
                        false => value,
                    };
                    let moment_1 = gradient.clone().mul_scalar(1.0 - beta_1);
                    let moment_1 = match first.remove::<D>(id) {
                        Some(moment) => moment.mul_scalar(beta_1) + moment_1,
                        None => moment_1,
                    };
                    let moment_2 = gradient.square().mul_scalar(1.0 - beta_2);
                    let moment_2 = match second.remove::<D>(id) {
                        Some(moment) => moment.mul_scalar(beta_2) + moment_2,
                        None => moment_2,
                    };
                    first.register(id, moment_1.clone());
                    second.register(id, moment_2.clone());
                    let bias_1 = 1.0 - beta_1.powf(steps as f64);
                    let bias_2 = 1.0 - beta_2.powf(steps as f64);
                    let root = moment_2.div_scalar(bias_2).sqrt().add_scalar(epsilon);
                    value - (moment_1 / root).mul_scalar(lr / bias_1)
                }
            };
            Tensor::from_inner(new).set_require_grad(is_require_grad)
        })
    }
}

fn is_decayed<const D: usize>(decayed: DecayedParameters) -> bool {
    match decayed {
        DecayedParameters::All => true,
        DecayedParameters::Weights => D > 1,
    }
}

struct Collect<'a> {
    path: Vec<String>,
    optimizer: &'a Optimizer,
    tensors: &'a mut NamedTensors,
    result: Result<(), HostReadError>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        for (moments, name) in self.optimizer.moments.iter().zip(MOMENTS) {
            if let Some(moment) = moments.get::<D>(param.id) {
                let path = format!("{}.{name}", self.path.join("."));
                match read_back(moment) {
                    Ok(data) => drop(self.tensors.insert(path, data)),
                    Err(error) => self.result = Err(error),
                }
            }
        }
    }
}

struct Restore<'a> {
    path: Vec<String>,
    optimizer: &'a mut Optimizer,
    tensors: &'a mut NamedTensors,
    problem: Option<String>,
}

impl ModuleVisitor for Restore<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        for (moments, name) in self.optimizer.moments.iter_mut().zip(MOMENTS) {
            let path = format!("{}.{name}", self.path.join("."));
            let Some(data): Option<TensorData> = self.tensors.remove(&path) else { continue };
            if data.shape().as_slice() == param.dims() {
                let value = param.val().without_autodiff();
                let moment = Tensor::<D>::from_data(data, (&value.device(), value.dtype()));
                moments.register(param.id, moment);
            } else {
                let problem =
                    format!("`{path}` has shape {:?}, not {:?}", data.shape(), param.dims());
                self.problem.get_or_insert(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradients::clip_global_norm;
    use crate::testing::{cross_entropy_gradients, inputs, linear};
    use burn::nn::Linear;
    use longtail_testing::{assert_close, device, values};

    fn five_steps(config: &str, clip: Option<f64>) -> Linear {
        let config: OptimizerConfig = toml::from_str(config).unwrap();
        config.check().unwrap();
        let device = device().autodiff();
        let mut layer = linear(&device);
        let mut optimizer = config.init();
        for step in 0..5 {
            let (x, y) = inputs(&device);
            let mut gradients = cross_entropy_gradients(&layer, x, y);
            if let Some(norm) = clip {
                gradients = clip_global_norm(&layer, gradients, norm);
            }
            layer = optimizer.step(config.lr(), layer, gradients);
            if step == 2 {
                // Saving and loading in the middle must change nothing.
                let mut tensors = NamedTensors::new();
                optimizer.collect("optimizer", &layer, &mut tensors).unwrap();
                let steps = optimizer.steps();
                optimizer = config.init();
                optimizer.restore("optimizer", &layer, &mut tensors, steps).unwrap();
                assert!(tensors.is_empty(), "{tensors:?}");
            }
        }
        layer
    }

    fn assert_layer(layer: &Linear, weight: &[f64], bias: &[f64]) {
        assert_close("weight", &values(layer.weight.val()), weight, 1e-6);
        assert_close("bias", &values(layer.bias.as_ref().unwrap().val()), bias, 1e-6);
    }

    // The expected numbers are printed by xtask/reference/training.py (torch.optim, float64).

    #[test]
    fn sgd_with_nesterov_and_weight_decay_equals_torch() {
        let config = "kind = 'sgd'\nlr = 0.1\nnesterov = true\nweight_decay = 0.01";
        let weight =
            [0.367789045, -0.334000923, 1.441069952, 1.354089207, 0.741981635, -1.112832126];
        assert_layer(&five_steps(config, None), &weight, &[-0.185171641, 0.308794128, 0.073025256]);
    }

    #[test]
    fn weight_decay_can_leave_out_biases() {
        let config =
            "kind = 'sgd'\nlr = 0.1\nnesterov = true\nweight_decay = 0.01\ndecayed = 'weights'";
        let weight =
            [0.367986483, -0.334027158, 1.440898748, 1.354093731, 0.742022233, -1.112877248];
        assert_layer(&five_steps(config, None), &weight, &[-0.184621496, 0.30775955, 0.076861946]);
    }

    #[test]
    fn sgd_with_plain_momentum_equals_torch() {
        let weight =
            [0.418359393, -0.485379826, 1.567020433, 1.407126327, 0.64786586, -1.054992188];
        let layer = five_steps("kind = 'sgd'\nlr = 0.1", None);
        assert_layer(&layer, &weight, &[-0.119614727, 0.205870945, 0.113743782]);
    }

    #[test]
    fn clipped_sgd_equals_torch() {
        let weight =
            [0.497154867, -0.974323874, 1.977169007, 1.495803654, 0.270089834, -0.765893488];
        let layer = five_steps("kind = 'sgd'\nlr = 0.1\nmomentum = 0.0", Some(0.1));
        assert_layer(&layer, &weight, &[0.089405666, -0.179386572, 0.289980906]);
    }

    #[test]
    fn adamw_equals_torch() {
        let weight =
            [0.447579367, -0.945109874, 1.940122979, 1.442680671, 0.298642305, -0.796160366];
        let layer = five_steps("kind = 'adamw'\nlr = 0.01\nweight_decay = 0.1", None);
        assert_layer(&layer, &weight, &[0.049622842, -0.149119143, 0.24861531]);
    }
}
