//! A rate per class, learned by Adam.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use longtail_kernels::{HostReadError, read_floats};

use crate::optimizer::Optimizer;
use crate::optimizer_config::{DecayedParameters, OptimizerConfig};
use crate::tensors::{NamedTensors, collect, restore};

/// `rate_c = sigmoid(psi_c)`, with Adam's state.
#[derive(Debug)]
pub(crate) struct ClassRates {
    numbers: ClassNumbers,
    optimizer: Optimizer,
    lr: f64,
}

#[derive(Module, Debug)]
struct ClassNumbers {
    psi: Param<Tensor<1>>, // [classes]
}

impl ClassRates {
    /// Rates to begin with, between 0 and 1. Adam has PyTorch's defaults.
    pub(crate) fn new(rates: &[f64], lr: f64, device: &Device) -> Self {
        let psi: Vec<f32> = rates.iter().map(|rate| (rate / (1.0 - rate)).ln() as f32).collect();
        let psi = Tensor::from_floats(psi.as_slice(), &device.clone().autodiff());
        let adam = OptimizerConfig::Adamw {
            lr,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decayed: DecayedParameters::All,
        };
        let numbers = ClassNumbers { psi: Param::from_tensor(psi) };
        Self { numbers, optimizer: adam.init(), lr }
    }

    /// The rates, `[classes]`, without autodiff.
    pub(crate) fn rates(&self) -> Tensor<1> {
        sigmoid(self.numbers.psi.val().without_autodiff())
    }

    /// A step of Adam by the gradient of `psi`, `[classes]`.
    pub(crate) fn update(&mut self, gradient: Tensor<1>) {
        let mut gradients = GradientsParams::new();
        gradients.register(self.numbers.psi.id, gradient);
        self.optimizer.update(self.lr, &mut self.numbers, gradients);
    }

    /// The rates on the host, for people.
    pub(crate) fn read(&self) -> Result<Vec<f32>, HostReadError> {
        read_floats(self.rates())
    }

    /// Copies `rates.psi` and Adam's moments to the host.
    pub(crate) fn collect(&self, tensors: &mut NamedTensors) -> Result<(), HostReadError> {
        collect("rates", &self.numbers, tensors)?;
        self.optimizer.collect("rates_optimizer", &self.numbers, tensors)
    }

    /// Takes them back after `steps` steps.
    pub(crate) fn restore(
        mut self,
        tensors: &mut NamedTensors,
        steps: u64,
    ) -> Result<Self, String> {
        self.numbers = restore("rates", self.numbers, tensors)?;
        self.optimizer.restore("rates_optimizer", &self.numbers, tensors, steps)?;
        Ok(self)
    }
}
