//! A model with its optimizer, average and gradients: what every training step needs.

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use longtail_kernels::HostReadError;

use crate::ema::Ema;
use crate::gradients::{GradientAverage, clip_global_norm};
use crate::optimizer::Optimizer;
use crate::optimizer_config::OptimizerConfig;
use crate::settings::{EmaConfig, GradientConfig};
use crate::tensors::{NamedTensors, collect, restore};
use crate::window::{Window, WindowCounts};

/// Model, optimizer and average of a run, on an autodiff device.
#[derive(Debug)]
pub(crate) struct Learner<M> {
    pub(crate) model: M,
    pub(crate) window: Window,
    optimizer: Optimizer,
    ema: Option<Ema<M>>,
    clip_norm: Option<f64>,
    gradients: GradientAverage,
    device: Device,
}

impl<M: Module> Learner<M> {
    /// Everything at its start. `device` has autodiff, and the model lives on it.
    pub(crate) fn new(
        model: M,
        optimizer: &OptimizerConfig,
        gradient: GradientConfig,
        ema: Option<EmaConfig>,
        device: &Device,
    ) -> Self {
        let ema = ema.map(|EmaConfig { decay }| Ema::new(&model, decay));
        Self {
            model,
            window: Window::default(),
            optimizer: optimizer.init(),
            ema,
            clip_norm: gradient.clip_norm,
            gradients: GradientAverage::new(),
            device: device.clone(),
        }
    }

    /// The autodiff device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The same at its start on another device with autodiff, without an average.
    pub(crate) fn replica(&self, device: &Device) -> Self {
        Self {
            model: self.model.clone().fork(device),
            window: Window::default(),
            optimizer: self.optimizer.fresh(),
            ema: None,
            clip_norm: self.clip_norm,
            gradients: GradientAverage::new(),
            device: device.clone(),
        }
    }

    /// Backward of the loss of a batch; the parameters wait for [`update`](Self::update).
    /// `num_images` are those of all replicas.
    pub(crate) fn backward(&mut self, loss: Tensor<1>, num_images: usize) {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.gradients.add(&self.model, gradients, num_images);
    }

    /// The momentum, or the first moment, of a parameter that has had a step.
    pub(crate) fn first_moment<const D: usize>(&self, id: ParamId) -> Option<Tensor<D>> {
        self.optimizer.first_moment(id)
    }

    /// Counts a batch of which this replica had no image.
    pub(crate) fn skip(&mut self, num_images: usize) {
        self.gradients.add(&self.model, GradientsParams::new(), num_images);
    }

    /// The gradients accumulated so far; starts anew.
    pub(crate) fn take_gradients(&mut self) -> GradientsParams {
        self.gradients.take(&self.model)
    }

    /// Moves the parameters by `gradients`. Frozen parameters have none.
    pub(crate) fn update(&mut self, lr: f64, mut gradients: GradientsParams) {
        if let Some(max_norm) = self.clip_norm {
            gradients = clip_global_norm(&self.model, gradients, max_norm);
        }
        self.optimizer.update(lr, &mut self.model, gradients);
        self.ema = self.ema.take().map(|ema| ema.update(&self.model));
        self.window.counts.steps += 1;
    }

    /// The model to evaluate and to export: the average if there is one.
    pub(crate) fn inference_model(&self) -> M {
        self.ema.as_ref().map_or_else(|| self.model.valid(), |ema| ema.model().clone())
    }

    /// Copies `model.*`, `optimizer.*` and `ema.*` to the host.
    pub(crate) fn collect(&self) -> Result<NamedTensors, HostReadError> {
        let mut tensors = NamedTensors::new();
        collect("model", &self.model, &mut tensors)?;
        self.optimizer.collect("optimizer", &self.model, &mut tensors)?;
        if let Some(ema) = &self.ema {
            collect("ema", ema.model(), &mut tensors)?;
        }
        Ok(tensors)
    }

    /// Takes the tensors of a run after `steps` steps out of `tensors`.
    /// # Errors
    /// Says which one is missing or has another shape.
    pub(crate) fn restore(
        mut self,
        tensors: &mut NamedTensors,
        steps: u64,
        counts: WindowCounts,
    ) -> Result<Self, String> {
        self.model = restore("model", self.model, tensors)?;
        self.optimizer.restore("optimizer", &self.model, tensors, steps)?;
        if let Some(ema) = self.ema.take() {
            let model = restore("ema", ema.model().clone(), tensors)?;
            self.ema = Some(ema.with_model(model));
        }
        self.window = Window::restore(tensors.remove("window"), counts, &self.device);
        Ok(self)
    }
}
