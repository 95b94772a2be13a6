//! Gradients through one step of SGD on a linear layer, in closed form.
//!
//! A batch with rows `x_b` moves the layer by `theta' = theta - lr k (sum_b w_b d_b x_b^T + ..)`, where
//! `d_b` is the gradient of the row's loss by its logits and `w_b` its weight; `k` is 1, or
//! `1 + momentum` with Nesterov's form. Momentum and weight decay are in the dots: they do not depend
//! on the weights of this step. With the gradient `G` of a meta loss at `theta'`
//!
//! ```text
//! d meta / d w_b = -lr k a_b,   a_b = d_b . (G_W x_b + G_b)
//! ```
//!
//! The alignment `a_b` says how far the row pulls the layer the way that lowers the meta loss. No
//! second derivative is taken.

use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use longtail_kernels::{SgdTerms, sgd_step};
use longtail_losses::{ClassificationLoss, LossError, Reduction, RowLabels, StatisticsUpdate};
use longtail_models::{ClassifierHead, Linear};

use crate::optimizer_config::OptimizerConfig;

/// Gradient of a linear layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerGradient {
    weight: Tensor<2>,       // [num_logits, num_features]
    bias: Option<Tensor<1>>, // [num_logits]
}

impl LayerGradient {
    /// Of the rows with these gradients by their logits, `[rows, num_logits]`.
    pub(crate) fn new(by_logits: Tensor<2>, rows: Tensor<2>, layer: &Linear) -> Self {
        let bias = layer.bias.as_ref().map(|_| by_logits.clone().sum_dim(0).squeeze_dim(0));
        Self { weight: by_logits.transpose().matmul(rows), bias }
    }

    /// The same for an optimizer.
    pub(crate) fn named(&self, layer: &Linear) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        gradients.register(layer.weight.id, self.weight.clone());
        if let (Some(bias), Some(gradient)) = (&layer.bias, &self.bias) {
            gradients.register(bias.id, gradient.clone());
        }
        gradients
    }

    /// `a_b = d_b . (G_W x_b + G_b)` of the rows of a batch, `[rows]`.
    pub(crate) fn alignment(&self, by_logits: Tensor<2>, rows: Tensor<2>) -> Tensor<1> {
        let pull = rows.matmul(self.weight.clone().transpose());
        let pull = match &self.bias {
            Some(bias) => pull + bias.clone().unsqueeze(),
            None => pull,
        };
        (pull * by_logits).sum_dim(1).squeeze_dim(1)
    }

    /// The layer after a step of SGD, which is not kept. `velocity` are weight and bias of the
    /// momentum before it.
    pub(crate) fn step(&self, layer: &Linear, sgd: SgdStep, velocity: Velocity) -> PlainLayer {
        let (weight, bias) = plain(layer);
        PlainLayer {
            weight: sgd.apply(weight, self.weight.clone(), velocity.weight),
            bias: match (bias, self.bias.clone()) {
                (Some(bias), Some(gradient)) => Some(sgd.apply(bias, gradient, velocity.bias)),
                (bias, _) => bias,
            },
        }
    }
}

/// Weight and bias without autodiff.
#[derive(Clone, Debug)]
pub(crate) struct PlainLayer {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl PlainLayer {
    /// The layer as it is.
    pub(crate) fn of(layer: &Linear) -> Self {
        let (weight, bias) = plain(layer);
        Self { weight, bias }
    }

    /// Logits `[rows, num_logits]`.
    pub(crate) fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        let logits = rows.matmul(self.weight.clone().transpose());
        match &self.bias {
            Some(bias) => logits + bias.clone().unsqueeze(),
            None => logits,
        }
    }
}

fn plain(layer: &Linear) -> (Tensor<2>, Option<Tensor<1>>) {
    let bias = layer.bias.as_ref().map(|bias| bias.val().without_autodiff());
    (layer.weight.val().without_autodiff(), bias)
}

/// Momentum of a linear layer; `None` before the first step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Velocity {
    pub(crate) weight: Option<Tensor<2>>,
    pub(crate) bias: Option<Tensor<1>>,
}

/// The numbers of a step of SGD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SgdStep {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
    decays_bias: bool,
}

impl SgdStep {
    /// `None` for another optimizer.
    pub(crate) fn new(config: &OptimizerConfig, lr: f64) -> Option<Self> {
        match *config {
            OptimizerConfig::Sgd { momentum, nesterov, weight_decay, decayed, .. } => {
                let decays_bias = decayed.includes::<1>();
                Some(Self { lr, momentum, weight_decay, nesterov, decays_bias })
            }
            OptimizerConfig::Adamw { .. } => None,
        }
    }

    /// How far the parameters move against a gradient of 1 of this step.
    pub(crate) fn reach(self) -> f64 {
        let ahead = if self.nesterov { self.momentum } else { 0.0 };
        self.lr * (1.0 + ahead)
    }

    fn apply<const D: usize>(
        self,
        value: Tensor<D>,
        gradient: Tensor<D>,
        velocity: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let weight_decay = if D > 1 || self.decays_bias { self.weight_decay } else { 0.0 };
        let Self { lr, momentum, nesterov, .. } = self;
        let velocity = velocity.unwrap_or_else(|| gradient.zeros_like());
        sgd_step(value, gradient, velocity, SgdTerms { lr, momentum, weight_decay, nesterov }).0
    }
}

/// A loss and its gradient by the logits.
pub(crate) struct LogitGradient {
    /// `[1]`
    pub(crate) loss: Tensor<1>,
    /// `[rows, num_logits]`
    pub(crate) by_logits: Tensor<2>,
    /// The batch's part in the statistics of the loss.
    pub(crate) update: StatisticsUpdate,
}

/// The loss of logits without autodiff.
pub(crate) fn logit_gradient(
    loss: &ClassificationLoss,
    logits: Tensor<2>,
    labels: RowLabels,
    reduction: Reduction,
) -> Result<LogitGradient, LossError> {
    let zero = logits.zeros_like();
    let logits = Tensor::from_inner(logits).require_grad();
    let output = loss.forward_with(logits.clone(), labels, reduction)?;
    let value = output.loss.clone().without_autodiff();
    let gradients = output.loss.backward();
    let by_logits = logits.grad(&gradients).map_or(zero, Tensor::without_autodiff);
    Ok(LogitGradient { loss: value, by_logits, update: output.update })
}

/// The linear layer of a head, if it is one.
pub(crate) fn linear_layer(head: &ClassifierHead) -> Option<&Linear> {
    match head {
        ClassifierHead::Linear(layer) => Some(layer),
        _ => None,
    }
}
