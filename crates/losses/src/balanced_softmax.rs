//! Balanced Softmax: the class prior of the training set goes into the softmax, not into the model.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{Shift, SoftmaxTerms};
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_softmax,
    class_weights::weight_table,
    error::check_parameter,
    layout::{Background, Layout},
    output::LossOutput,
    rows::{Rows, table},
};

/// Which prior background gets in a detector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundPrior {
    /// Background is as likely in training as at test time, and only the share among the classes
    /// becomes uniform: it counts as much as the average class.
    Keep,
    /// Background counts this many examples.
    Count(f64),
    /// Background stays out of the softmax over the classes; two more columns decide between
    /// foreground and background.
    Exclude,
}

/// Configuration of [`BalancedSoftmaxLoss`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalancedSoftmaxConfig {
    /// Background's prior. Default: none, there is no background (classification).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<BackgroundPrior>,
}

impl BalancedSoftmaxConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let background = match self.background {
            None => Background::None,
            Some(BackgroundPrior::Keep | BackgroundPrior::Count(_)) => Background::Column,
            Some(BackgroundPrior::Exclude) => Background::Objectness,
        };
        Layout::softmax("balanced-softmax", num_classes, background)
    }

    /// Reads the instance counts. A class without an example counts as having one: its prior is
    /// small but finite.
    ///
    /// # Errors
    /// If the background count is not positive.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<BalancedSoftmaxLoss, LossError> {
        let counts: Vec<f64> = counts.instance_counts().iter().map(|&n| n.max(1) as f64).collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        // Divided by the mean, which a softmax does not see unless background has its own count.
        let mut log_prior: Vec<f64> = counts.iter().map(|count| (count / mean).ln()).collect();
        match self.background {
            None | Some(BackgroundPrior::Exclude) => {}
            Some(BackgroundPrior::Keep) => log_prior.push(0.0),
            Some(BackgroundPrior::Count(count)) => {
                let is_valid = count.is_finite() && count > 0.0;
                check_parameter("the background count", count, is_valid, "positive and finite")?;
                log_prior.push((count / mean).ln());
            }
        }
        let layout = self.layout(counts.len());
        Ok(BalancedSoftmaxLoss { log_prior: table(log_prior, device), class_weights: None, layout })
    }
}

/// Softmax cross-entropy of `logits + ln n`, with the training counts `n`.
///
/// `L = 1/R sum_r -ln softmax(logits_r + ln n)[y_r]`; at test time the plain logits count. It is
/// logit adjustment with `tau = 1`. Combine it with instance-balanced sampling: a class-balanced
/// sampler would correct twice. Cosine logits in `[-1, 1]` drown in the prior; scale them first.
///
/// Source: Ren et al., NeurIPS 2020, <https://arxiv.org/abs/2007.10740>. Background is ours: the
/// released code has none in the softmax.
#[derive(Module, Debug)]
pub struct BalancedSoftmaxLoss {
    log_prior: Tensor<1>, // [num_classes], then background if it has a column
    class_weights: Option<Tensor<1>>, // [num_labels]
    #[module(skip)]
    layout: Layout,
}

impl BalancedSoftmaxLoss {
    /// What is added to the logits in training, `ln (n_j / mean n)`: `[num_classes]`, then
    /// background if it has a column.
    pub fn log_prior(&self) -> Tensor<1> {
        self.log_prior.clone()
    }
}

impl LossMethod for BalancedSoftmaxLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let rows = Rows::new(logits, labels, &self.layout)?;
        let shift = Some(Shift::PerColumn(self.log_prior.clone()));
        let terms = SoftmaxTerms { shift, ..Default::default() };
        Ok(rows.softmax(terms, self.class_weights.as_ref(), reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
    }

    fn set_class_weights(&mut self, weights: &[f64], device: &Device) -> Result<(), LossError> {
        self.class_weights = Some(weight_table(weights, &self.layout, device)?);
        Ok(())
    }
}
