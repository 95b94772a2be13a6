//! Equilibrium loss of LOCE: the mean score of a class takes the place of its prior.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use longtail_kernels::{Shift, SoftmaxTerms, softmax_loss};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_softmax,
    error::check_parameter,
    layout::{Background, Layout},
    method::{foreign_unless, named_state},
    output::LossOutput,
    rows::{Rows, check_rows, statistic, sum_by_label, table},
};

/// Smallest mean score whose logarithm is taken.
const LEAST_SCORE: f32 = 1e-12;

/// Configuration of [`EquilibriumLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EquilibriumConfig {
    /// Share of the old mean score that one object of the class leaves. Default: the authors' 0.9.
    pub alpha: f64,
    /// Mean score of every class before training, and of background for ever. Default: the authors'
    /// 0.01.
    pub initial_score: f64,
    /// Whether background is a class of its own, with a column after the others. Default: true, as
    /// in the authors' detector; plain classification does without.
    pub background: bool,
}

impl Default for EquilibriumConfig {
    fn default() -> Self {
        Self { alpha: 0.9, initial_score: 0.01, background: true }
    }
}

impl EquilibriumConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let background = if self.background { Background::Column } else { Background::None };
        Layout::softmax("loce", num_classes, background)
    }

    /// Reads no statistics, only the number of classes; it gathers its own.
    ///
    /// # Errors
    /// If `alpha` or `initial_score` is not in `(0, 1]`.
    pub fn init(&self, num_classes: usize, device: &Device) -> Result<EquilibriumLoss, LossError> {
        for (name, value) in [("alpha", self.alpha), ("initial_score", self.initial_score)] {
            check_parameter(name, value, value > 0.0 && value <= 1.0, "in (0, 1]")?;
        }
        let background = usize::from(self.background);
        Ok(EquilibriumLoss {
            mean_scores: statistic(table(vec![self.initial_score; num_classes], device)),
            background: table(vec![self.initial_score.ln(); background], device),
            alpha: self.alpha,
            layout: self.layout(num_classes),
        })
    }
}

/// Softmax cross-entropy of `logits + ln s`, with the mean score `s_j` that the model gives to
/// objects of class `j`: a class that is learned already is held down, one that is not is lifted.
///
/// `L = 1/R sum_r -ln(s_y e^{z_ry} / sum_k s_k e^{z_rk})`. The mean score moves by
/// `s_j = alpha^n s_j + (1 - alpha^n) m`, where `n` is the number of objects of class `j` in the
/// batch and `m` the mean over them of `softmax(z)_j` without `s`; the loss sees `s` after this
/// batch. Background's `s` stays at its first value. `s` is a constant to the gradient. At test time
/// the plain logits count. With equal `s` the loss is cross-entropy; `alpha = 1` keeps it so.
///
/// An object is a row, unless [`RowLabels::object_shares`] says that several rows show the same one,
/// as in our detectors: then the score of an object is the mean over its rows, and it counts once,
/// as in the released code. Merged updates (micro-batches, replicas) count as one batch.
///
/// Source: Feng et al., LOCE, ICCV 2021, <https://arxiv.org/abs/2108.07507>. The paper adds features
/// of earlier batches to each batch; this is the loss alone. A mean score is kept above 1e-12 here.
#[derive(Module, Debug)]
pub struct EquilibriumLoss {
    mean_scores: Param<Tensor<1>>, // s, [num_classes]
    background: Tensor<1>,         // ln s of background, [1], or [0] without it
    alpha: f64,
    #[module(skip)]
    layout: Layout,
}

impl EquilibriumLoss {
    /// The mean score of each class, `[num_classes]`; features to train on again are drawn in
    /// inverse proportion.
    pub fn mean_scores(&self) -> Tensor<1> {
        self.mean_scores.val()
    }

    /// `s` after a batch with these objects.
    fn moved(&self, counts: Tensor<1>, sums: Tensor<1>) -> Tensor<1> {
        let old = self.mean_scores.val().without_autodiff();
        let kept = (counts.clone() * self.alpha.ln()).exp();
        let mean = sums / counts.clamp_min(LEAST_SCORE);
        kept.clone() * old + (1.0 - kept) * mean
    }
}

impl LossMethod for EquilibriumLoss {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let shares = labels.object_shares.clone();
        let rows = Rows::new(logits, labels, &self.layout)?;
        let Some(labels) = rows.class_labels().filter(|_| !rows.is_empty()) else {
            return rows.empty_output(reduction);
        };
        let [num_rows] = labels.dims();
        if let Some(shares) = &shares {
            check_rows("object shares", shares.dims()[0], num_rows)?;
        }
        let row_weights = rows.kept().map(Tensor::without_autodiff);
        let terms = SoftmaxTerms { row_weights: row_weights.clone(), ..Default::default() };
        let plain = softmax_loss(rows.logits.clone().without_autodiff(), labels.clone(), terms);
        let mut shares = match shares {
            Some(shares) => shares.without_autodiff(),
            None => Tensor::ones([num_rows], &plain.device()),
        };
        if let Some(kept) = row_weights {
            shares = shares * kept;
        }
        let (num_labels, num_classes) = (self.layout.num_labels(), self.layout.num_classes());
        let sum =
            |values| sum_by_label(labels.clone(), values, num_labels).narrow(0, 0, num_classes);
        let counts = sum(shares.clone());
        let sums = sum(shares * (-plain).exp());

        let scores = self.moved(counts.clone(), sums.clone()).clamp_min(LEAST_SCORE).log();
        let shift = match self.layout.background() {
            Background::Column => Tensor::cat(vec![scores, self.background.clone()], 0),
            _ => scores,
        };
        let terms = SoftmaxTerms { shift: Some(Shift::PerColumn(shift)), ..Default::default() };
        let loss = rows.softmax(terms, None, reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::ObjectScores { counts, sums } })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::ObjectScores { counts, sums } = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        let moved = self.moved(counts.without_autodiff(), sums.without_autodiff());
        self.mean_scores = statistic(moved);
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        vec![("mean_scores".into(), self.mean_scores.val())]
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let names = [("mean_scores", self.layout.num_classes())];
        let [mean_scores] = named_state(self.layout.method(), names, state)?;
        self.mean_scores = statistic(mean_scores);
        Ok(())
    }
}
