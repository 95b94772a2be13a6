//! Adaptive Class Suppression Loss (ACSL): a class is pushed down only where it scores high.

use burn::{
    module::Module,
    tensor::{Device, Tensor, activation::sigmoid},
};
use longtail_kernels::{BackgroundDraw, DrawUnit, SigmoidTerms};
use longtail_types::{ClassCounts, FrequencyGroup};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    draws::{draws_state, load_draws},
    error::check_parameter,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, table},
};

/// Configuration of [`AdaptiveSuppressionLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveSuppressionConfig {
    /// Score from which another class is pushed down on a foreground row. Default: the authors'
    /// 0.7; 0 makes the foreground rows plain sigmoid cross-entropy.
    pub threshold: f64,
    /// Part of the background rows that push common classes down. Default: the authors' 0.1.
    pub common_share: f64,
    /// Part of the background rows that push rare classes down. Default: the authors' 0.01.
    pub rare_share: f64,
    /// Score that every column starts with. Default: the authors' 0.01.
    pub prior: f64,
    /// Seed of the choice of background rows. Default: that of the recipe; without one 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for AdaptiveSuppressionConfig {
    fn default() -> Self {
        Self { threshold: 0.7, common_share: 0.1, rare_share: 0.01, prior: 0.01, seed: None }
    }
}

impl AdaptiveSuppressionConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::sigmoid("acsl", num_classes, Background::Column)
    }

    /// Groups the classes by their image counts: rare up to 10, common up to 100. The flags of LVIS
    /// files agree with these bounds.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<AdaptiveSuppressionLoss, LossError> {
        let groups = counts.image_counts().iter().map(|&count| FrequencyGroup::of(count));
        self.init_with_groups(&groups.collect::<Vec<_>>(), device)
    }

    /// Takes the group of each class as it is, such as a file's own flag.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init_with_groups(
        &self,
        groups: &[FrequencyGroup],
        device: &Device,
    ) -> Result<AdaptiveSuppressionLoss, LossError> {
        let fractions = [
            ("threshold", self.threshold),
            ("common_share", self.common_share),
            ("rare_share", self.rare_share),
        ];
        for (name, value) in fractions {
            check_parameter(name, value, (0.0..=1.0).contains(&value), "in [0, 1]")?;
        }
        let share = |group: &FrequencyGroup| match group {
            FrequencyGroup::Rare => self.rare_share,
            FrequencyGroup::Common => self.common_share,
            FrequencyGroup::Frequent => 1.0,
        };
        Ok(AdaptiveSuppressionLoss {
            shares: table(groups.iter().map(share).chain([1.0]), device),
            threshold: (self.threshold / (1.0 - self.threshold)).ln() as f32,
            seed: self.seed.unwrap_or_default(),
            draws: 0,
            prior_bias: bias_of(self.prior)?,
            layout: self.layout(groups.len()),
        })
    }
}

/// Sigmoid cross-entropy that spares the classes which a row does not confuse.
///
/// `L = 1/R sum_rj w_rj BCE(logit_rj, y_rj)`. On a foreground row `w` is 1 at the label, and
/// elsewhere, background's column included, 1 where the score is at least `threshold`, else 0. A
/// background row has `w = 1` at background's column and at frequent classes; at common and rare
/// ones on a random part of these rows.
///
/// The last column says background; its target is 1 on background rows. At test time
/// `p_j = sigmoid(z_j)`: background's column is not looked at.
///
/// The choice of rows is a function of seed, number of draws and row. `forward` does not count a
/// draw, [`apply`](LossMethod::apply) does: apply after every batch.
///
/// Source: Wang et al., CVPR 2021, <https://arxiv.org/abs/2104.00885>. The authors train the last
/// layer alone, on a trained detector. Each background row is chosen with the probability of its
/// part, where the released code takes exactly that part; a row that counts for rare classes counts
/// for common ones too, where the released code chooses twice.
#[derive(Module, Debug)]
pub struct AdaptiveSuppressionLoss {
    shares: Tensor<1>, // [num_classes + 1]
    threshold: f32,    // as a logit
    seed: u64,
    draws: u64,
    prior_bias: f32,
    #[module(skip)]
    layout: Layout,
}

impl AdaptiveSuppressionLoss {
    /// The next choice of background rows.
    pub fn next_draw(&self) -> BackgroundDraw {
        let (seed, draw) = (self.seed, self.draws);
        BackgroundDraw { probabilities: self.shares.clone(), unit: DrawUnit::Row, seed, draw }
    }
}

impl LossMethod for AdaptiveSuppressionLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let mut rows = Rows::new(logits, labels, &self.layout)?;
        if rows.is_empty() {
            return rows.empty_output(reduction);
        }
        rows.add_background_target();
        let terms = SigmoidTerms {
            background_draw: Some(self.next_draw()),
            foreground_threshold: Some(self.threshold),
            has_background_column: true,
            ..Default::default()
        };
        let loss = rows.sigmoid(terms, reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.layout.check_width(logits.dims()[1])?;
        Ok(sigmoid(logits.narrow(1, 0, self.layout.num_classes())))
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
        draws_state(self.draws, &self.shares.device())
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.draws = load_draws(self.layout.method(), state)?;
        Ok(())
    }
}
