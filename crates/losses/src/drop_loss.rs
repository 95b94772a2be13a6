//! DropLoss: rare classes are spared on background rows too, the more the fewer of them there are.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{BackgroundDraw, DrawUnit, Labels, RowSet, SigmoidTerms};
use longtail_types::{ClassCounts, TailRule};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_sigmoid,
    draws::{draws_state, load_draws},
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, table},
};

/// Configuration of [`DropLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropLossConfig {
    /// Which classes are tail, by image counts. Default: image frequency below 1.77e-3, the
    /// authors' setting for LVIS v0.5 (at most 100 images). On a small data set it selects no
    /// class, which is an error: choose a count.
    pub tail: TailRule,
    /// Score that every class starts with. Default: 0.001, as in Equalization Loss; for few classes
    /// one over their number trains faster.
    pub prior: f64,
    /// Seed of the random choice. Default: that of the recipe; without one 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for DropLossConfig {
    fn default() -> Self {
        Self { tail: TailRule::ImageFrequencyBelow(1.77e-3), prior: 0.001, seed: None }
    }
}

impl DropLossConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("drop-loss", num_classes, Background::NoColumn)
    }

    /// Reads the image counts and the number of annotated images.
    ///
    /// # Errors
    /// If the tail rule selects no class or every class, or the prior is not between 0 and 1.
    pub fn init(&self, counts: &ClassCounts, device: &Device) -> Result<DropLoss, LossError> {
        self.init_with_tail(&self.tail.tail_classes(counts)?, device)
    }

    /// Takes the tail classes as they are; none of them makes the loss sigmoid cross-entropy.
    ///
    /// # Errors
    /// If the prior is not between 0 and 1.
    pub fn init_with_tail(&self, is_tail: &[bool], device: &Device) -> Result<DropLoss, LossError> {
        let of_class = |&tail: &bool| f64::from(tail);
        Ok(DropLoss {
            tail: table(is_tail.iter().map(of_class).chain([0.0]), device),
            seed: self.seed.unwrap_or_default(),
            draws: 0,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(is_tail.len()),
        })
    }
}

/// Equalization Loss that also spares tail classes at random entries of background rows.
///
/// `L = 1/R sum_rj w_rj BCE(logit_rj, y_rj)` with
/// `w_rj = 1 - (E(r) + (1 - E(r)) D_rj) T(j) (1 - y_rj)`, where `E(r)` is 1 on rows with a positive,
/// `T(j)` is 1 for tail classes, and `D_rj` is drawn with probability `1 - rho` for each row and
/// class. `rho` is the share of tail classes among the positives of the batch; without a positive
/// nothing is dropped. No column for background. With `rho = 1` it is Equalization Loss.
///
/// The draws are a function of seed, number of draws, row and class. `forward` does not count a
/// draw, [`apply`](LossMethod::apply) does: apply after every batch.
///
/// Source: Hsieh et al., AAAI 2021, <https://arxiv.org/abs/2104.06402>.
#[derive(Module, Debug)]
pub struct DropLoss {
    tail: Tensor<1>, // T(j), then 0 for background, [num_classes + 1]
    seed: u64,
    draws: u64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl DropLoss {
    /// `rho`, `[1]`: the share of tail classes among the positives of the rows that count.
    fn tail_share(&self, rows: &Rows) -> Tensor<1> {
        let num_classes = self.layout.num_classes();
        let (of_tail, positives) = match &rows.labels {
            Labels::Classes(labels) => {
                let labels = labels.clone().without_autodiff();
                let of_tail = self.tail.clone().select(0, labels.clone());
                let positives = labels.lower_scalar(num_classes as i64).float();
                match rows.kept() {
                    None => (of_tail.sum(), positives.sum()),
                    Some(kept) => {
                        let kept = kept.without_autodiff();
                        ((of_tail * kept.clone()).sum(), (positives * kept).sum())
                    }
                }
            }
            // Of ignored rows every target is 0.
            Labels::MultiLabel(targets) => {
                let positives = targets.clone().without_autodiff().sum_dim(0);
                let positives = positives.squeeze_dim::<1>(0);
                let tail = self.tail.clone().narrow(0, 0, num_classes);
                ((positives.clone() * tail).sum(), positives.sum())
            }
        };
        let is_without = positives.clone().equal_elem(0.0);
        (of_tail / positives.clamp_min(1.0)).mask_fill(is_without, 1.0)
    }
}

impl LossMethod for DropLoss {
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
        let tail = self.tail.clone().narrow(0, 0, self.layout.num_classes());
        let probabilities = 1.0 - tail.clone() * (1.0 - self.tail_share(&rows));
        let terms = SigmoidTerms {
            negative_weights: Some(1.0 - tail),
            negative_weight_rows: RowSet::Foreground,
            background_draw: Some(BackgroundDraw {
                probabilities,
                unit: DrawUnit::Entry,
                seed: self.seed,
                draw: self.draws,
            }),
            ..Default::default()
        };
        let loss = rows.sigmoid(terms, reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_sigmoid(logits, &self.layout)
    }

    fn prior_bias(&self) -> Option<f32> {
        Some(self.prior_bias)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        if let StatisticsUpdate::Draws(draws) = update {
            self.draws += draws;
            return Ok(());
        }
        foreign_unless(update.is_none(), &self.layout)
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        draws_state(self.draws, &self.tail.device())
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.draws = load_draws(self.layout.method(), state)?;
        Ok(())
    }
}
