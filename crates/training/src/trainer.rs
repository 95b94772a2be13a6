//! What a run carries from step to step, and the step itself.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_data::Batch;
use longtail_losses::{ClassificationLoss, RowLabels, StatisticsUpdate, effective_number_weights};
use longtail_models::Classifier;
use longtail_types::ClassCounts;

use crate::checkpoint::WindowCounts;
use crate::ema::Ema;
use crate::error::TrainingError;
use crate::gradients::{GradientAverage, clip_global_norm};
use crate::optimizer::Optimizer;
use crate::recipe::Recipe;
use crate::settings::EmaConfig;
use crate::tensors::{NamedTensors, collect, restore};

/// Model, loss, optimizer and average of a run, on an autodiff device.
#[derive(Debug)]
pub(crate) struct Trainer {
    pub(crate) model: Classifier,
    pub(crate) loss: ClassificationLoss,
    pub(crate) window: Window,
    optimizer: Optimizer,
    ema: Option<Ema<Classifier>>,
    clip_norm: Option<f64>,
    gradients: GradientAverage,
    update: StatisticsUpdate,
    is_reweighted: bool,
    device: Device,
}

impl Trainer {
    /// Everything at its start. `device` has autodiff.
    pub(crate) fn new(
        recipe: &Recipe,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let loss = recipe.loss.init(counts, device)?;
        let model = recipe.model.init(loss.num_logits(), loss.prior_bias(), recipe.seed, device)?;
        let ema = recipe.ema.map(|EmaConfig { decay }| Ema::new(&model, decay));
        Ok(Self {
            model,
            loss,
            window: Window::new(device),
            optimizer: recipe.optimizer.init(),
            ema,
            clip_norm: recipe.gradient.clip_norm,
            gradients: GradientAverage::new(),
            update: StatisticsUpdate::None,
            is_reweighted: false,
            device: device.clone(),
        })
    }

    /// Switches deferred re-weighting on once its epoch has come.
    pub(crate) fn begin_epoch(
        &mut self,
        epoch: u64,
        recipe: &Recipe,
        counts: &ClassCounts,
    ) -> Result<(), TrainingError> {
        if let Some(reweighting) = &recipe.reweighting
            && epoch >= reweighting.from_epoch
            && !self.is_reweighted
        {
            let weights = effective_number_weights(counts.instance_counts(), reweighting.beta)?;
            self.loss = self.loss.clone().reweighted(&weights, &self.device)?;
            self.is_reweighted = true;
        }
        Ok(())
    }

    /// Forward and backward of one batch; the parameters wait for [`step`](Self::step).
    pub(crate) fn accumulate(&mut self, batch: Batch) -> Result<(), TrainingError> {
        let num_rows = batch.len();
        let labels = RowLabels::from_host(&batch.labels, self.loss.num_labels(), &self.device)?;
        let batch = batch.to_device(&self.device);
        let logits = self.model.forward(batch.images);
        let output = self.loss.forward(logits.clone(), labels)?;
        let scores = self.loss.scores(logits.without_autodiff())?;
        self.window.add(output.loss.clone().without_autodiff(), scores, batch.labels);

        let gradients = GradientsParams::from_grads(output.loss.backward(), &self.model);
        self.gradients.add(&self.model, gradients, num_rows);
        self.update = std::mem::take(&mut self.update).merge(output.update)?;
        Ok(())
    }

    /// Moves the parameters by the gradients accumulated so far.
    pub(crate) fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let mut gradients = self.gradients.take(&self.model);
        if let Some(max_norm) = self.clip_norm {
            gradients = clip_global_norm(&self.model, gradients, max_norm);
        }
        self.model = self.optimizer.step(lr, self.model.clone(), gradients);
        self.loss.apply(std::mem::take(&mut self.update))?;
        self.ema = self.ema.take().map(|ema| ema.update(&self.model));
        self.window.counts.steps += 1;
        Ok(())
    }

    /// The model to evaluate and to export: the average if there is one.
    pub(crate) fn inference_model(&self) -> Classifier {
        self.ema.as_ref().map_or_else(|| self.model.valid(), |ema| ema.model().clone())
    }

    /// Copies all tensors of the run to the host.
    pub(crate) fn collect(&self) -> NamedTensors {
        let mut tensors = NamedTensors::new();
        collect("model", &self.model, &mut tensors);
        self.optimizer.collect("optimizer", &self.model, &mut tensors);
        if let Some(ema) = &self.ema {
            collect("ema", ema.model(), &mut tensors);
        }
        for (name, tensor) in self.loss.state() {
            tensors.insert(format!("loss.{name}"), tensor.into_data());
        }
        tensors.insert("window".into(), self.window.sums.to_data());
        tensors
    }

    /// Takes the tensors of a run after `steps` steps.
    pub(crate) fn restore(
        mut self,
        mut tensors: NamedTensors,
        steps: u64,
        counts: WindowCounts,
    ) -> Result<Self, String> {
        self.model = restore("model", self.model, &mut tensors)?;
        self.optimizer.restore("optimizer", &self.model, &mut tensors, steps)?;
        if let Some(ema) = self.ema.take() {
            let model = restore("ema", ema.model().clone(), &mut tensors)?;
            self.ema = Some(ema.with_model(model));
        }
        restore_loss(&mut self.loss, &mut tensors, &self.device)?;
        let sums = tensors.remove("window").ok_or("`window` is missing")?;
        self.window.sums = Tensor::from_data(sums, &self.device.clone().without_autodiff());
        self.window.counts = counts;
        match tensors.keys().next() {
            None => Ok(self),
            Some(name) => Err(format!("`{name}` belongs to nothing in this run")),
        }
    }
}

/// Gives the loss its statistics back: the tensors `loss.*`.
pub(crate) fn restore_loss(
    loss: &mut ClassificationLoss,
    tensors: &mut NamedTensors,
    device: &Device,
) -> Result<(), String> {
    let device = device.clone().without_autodiff();
    let names: Vec<String> =
        tensors.keys().filter(|name| name.starts_with("loss.")).cloned().collect();
    let take = |name: String| -> Option<(String, Tensor<1>)> {
        let data: TensorData = tensors.remove(&name)?;
        let is_vector = data.rank() == 1;
        let name = name.trim_start_matches("loss.").to_string();
        is_vector.then(|| (name, Tensor::from_data(data, &device)))
    };
    let state = names.into_iter().filter_map(take).collect();
    loss.load_state(state).map_err(|error| error.to_string())
}

/// Sums of loss and hits since they were last read; they stay on the device until then.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) counts: WindowCounts,
    sums: Tensor<1>, // [2]: losses of batches, right predictions
}

/// Means since the window was last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowMeans {
    pub(crate) loss: f32,
    pub(crate) accuracy: f32,
    pub(crate) steps: u64,
}

impl Window {
    fn new(device: &Device) -> Self {
        let sums = Tensor::zeros([2], &device.clone().without_autodiff());
        Self { counts: WindowCounts::default(), sums }
    }

    fn add(&mut self, loss: Tensor<1>, scores: Tensor<2>, labels: Tensor<1, Int>) {
        let labels = labels.without_autodiff();
        self.counts.batches += 1;
        self.counts.rows += labels.dims()[0] as u64;
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(labels).float().sum();
        self.sums = self.sums.clone() + Tensor::cat(vec![loss, hits], 0);
    }

    /// Reads the sums back and starts anew.
    pub(crate) fn take(&mut self) -> WindowMeans {
        let counts = std::mem::take(&mut self.counts);
        let zeros = self.sums.zeros_like();
        let sums = std::mem::replace(&mut self.sums, zeros);
        let sums = sums.into_data().convert::<f32>();
        let sum = |i: usize| sums.as_slice().ok().and_then(|sums| sums.get(i)).copied();
        let mean = |i, count: u64| sum(i).unwrap_or(f32::NAN) / count.max(1) as f32;
        let (loss, accuracy) = (mean(0, counts.batches), mean(1, counts.rows));
        WindowMeans { loss, accuracy, steps: counts.steps }
    }
}
