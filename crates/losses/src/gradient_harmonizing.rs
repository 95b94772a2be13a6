//! GHM-C: entries count less where many others have an error of the same size.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use longtail_kernels::{SigmoidTerms, sigmoid_error_counts};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_sigmoid,
    error::check_parameter,
    layout::{Background, Layout},
    method::{foreign_unless, named_state},
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, statistic, table},
};

/// Configuration of [`GradientHarmonizingLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GradientHarmonizingConfig {
    /// Bins of equal width that errors are sorted into. Default: the released code's 10; for
    /// RetinaNet the authors take 30.
    pub bins: usize,
    /// Part of the old count that stays in a batch. Default: the released code's 0, the counts of
    /// the batch alone; for RetinaNet the authors take 0.75.
    pub momentum: f64,
    /// Score that every class starts with. Default: RetinaNet's 0.01.
    pub prior: f64,
}

impl Default for GradientHarmonizingConfig {
    fn default() -> Self {
        Self { bins: 10, momentum: 0.0, prior: 0.01 }
    }
}

impl GradientHarmonizingConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("ghm-c", num_classes, Background::NoColumn)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(
        &self,
        num_classes: usize,
        device: &Device,
    ) -> Result<GradientHarmonizingLoss, LossError> {
        let is_valid = (1..=1 << 16).contains(&self.bins);
        check_parameter("bins", self.bins as f64, is_valid, "in 1 to 65536")?;
        let is_valid = (0.0..1.0).contains(&self.momentum);
        check_parameter("momentum", self.momentum, is_valid, "in [0, 1)")?;
        Ok(GradientHarmonizingLoss {
            counts: statistic(table(vec![0.0; self.bins], device)),
            bins: self.bins,
            momentum: self.momentum,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(num_classes),
        })
    }
}

/// Sigmoid cross-entropy whose entries are weighted by the inverse density of their gradient.
///
/// `L = 1/R sum_rj BCE(logit_rj, y_rj) R / (m G(b_rj))`, where `b` is the bin of
/// `|sigmoid(logit) - y|` among bins of equal width, `G(b)` the number of entries in it, and `m`
/// the number of bins that hold one: the mean over the bins of the mean loss in each. The weights
/// are constants to the gradient. With momentum `G` is the moving average of the counts, this batch
/// included; it stands still where the batch has no entry.
///
/// The loss brings its own divisor: use [`Reduction::Mean`], in dense heads too
/// ([`dense_reduction`](LossMethod::dense_reduction) says so), not the number of positives. No
/// column for background.
///
/// Source: Li et al., AAAI 2019, <https://arxiv.org/abs/1811.05181>. As the released code counts
/// them, entries are single logits. The moving average starts at 0 there as here, so that the
/// first batches weigh more. It is kept by the caller's update, not changed in the forward pass.
#[derive(Module, Debug)]
pub struct GradientHarmonizingLoss {
    counts: Param<Tensor<1>>, // moving average, [bins]
    bins: usize,
    momentum: f64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl GradientHarmonizingLoss {
    /// The moving average with a batch; it stands still at empty bins.
    fn with_batch(&self, batch: &Tensor<1>) -> Tensor<1> {
        let before = self.counts.val().without_autodiff();
        let moved = before.clone() * self.momentum + batch.clone() * (1.0 - self.momentum);
        moved.mask_where(batch.clone().equal_elem(0.0), before)
    }

    /// What the entries of a bin are multiplied by, `[bins]`.
    fn weights(&self, batch: &Tensor<1>) -> Tensor<1> {
        let is_filled = batch.clone().greater_elem(0.0).float();
        let num_filled = is_filled.clone().sum().clamp_min(1.0);
        let num_rows = batch.clone().sum() / self.layout.num_classes().max(1) as f64;
        let density = if self.momentum > 0.0 { self.with_batch(batch) } else { batch.clone() };
        // A filled bin counts at least 1 - momentum.
        is_filled * (num_rows / num_filled) / density.clamp_min(1e-30)
    }
}

impl LossMethod for GradientHarmonizingLoss {
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
        if rows.is_empty() {
            return rows.empty_output(reduction);
        }
        let kept = rows.kept();
        let batch = sigmoid_error_counts(rows.logits.clone(), rows.labels.clone(), kept, self.bins);
        let error_weights = Some(self.weights(&batch));
        let loss = rows.sigmoid(SigmoidTerms { error_weights, ..Default::default() }, reduction)?;
        let update = if self.momentum > 0.0 {
            StatisticsUpdate::ErrorCounts(batch)
        } else {
            StatisticsUpdate::None
        };
        Ok(LossOutput { loss, update })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }

    fn dense_reduction(&self, _num_positives: usize) -> Reduction {
        Reduction::Mean
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::ErrorCounts(batch) = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        self.counts = statistic(self.with_batch(&batch.without_autodiff()));
        Ok(())
    }

    /// The moving average; nothing without momentum.
    fn state(&self) -> Vec<(String, Tensor<1>)> {
        if self.momentum > 0.0 {
            vec![("error_counts".into(), self.counts.val())]
        } else {
            Vec::new()
        }
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let method = self.layout.method();
        if self.momentum > 0.0 {
            let [counts] = named_state(method, [("error_counts", self.bins)], state)?;
            self.counts = statistic(counts);
        } else {
            let [] = named_state(method, [], state)?;
        }
        Ok(())
    }
}
