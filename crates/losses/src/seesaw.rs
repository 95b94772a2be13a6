//! Seesaw loss: frequent classes push rare ones less, confused ones push back more.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use longtail_kernels::{SeesawShift, Shift, SoftmaxTerms};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_softmax,
    error::check_parameter,
    layout::{Background, Layout},
    method::{foreign_unless, named_state},
    output::LossOutput,
    rows::{Rows, statistic, sum_by_label, table},
};

/// Configuration of [`SeesawLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeesawConfig {
    /// Exponent of the mitigation factor. Default: the authors' 0.8.
    pub p: f64,
    /// Exponent of the compensation factor. Default: the authors' 2.
    pub q: f64,
    /// Smallest label probability in the compensation factor. Default: the authors' 0.01.
    pub epsilon: f64,
    /// Whether two more columns decide between foreground and background. Default: true, as in the
    /// authors' detector; plain classification does without.
    pub objectness: bool,
}

impl Default for SeesawConfig {
    fn default() -> Self {
        Self { p: 0.8, q: 2.0, epsilon: 0.01, objectness: true }
    }
}

impl SeesawConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let background = if self.objectness { Background::Objectness } else { Background::None };
        Layout::softmax("seesaw", num_classes, background)
    }

    /// Reads no statistics, only the number of classes; it counts labels as they come.
    ///
    /// # Errors
    /// If an exponent is negative or `epsilon` is not in `(0, 1]`.
    pub fn init(&self, num_classes: usize, device: &Device) -> Result<SeesawLoss, LossError> {
        for (name, value) in [("p", self.p), ("q", self.q)] {
            check_parameter(name, value, value.is_finite() && value >= 0.0, "at least 0")?;
        }
        let is_valid = self.epsilon > 0.0 && self.epsilon <= 1.0;
        check_parameter("epsilon", self.epsilon, is_valid, "in (0, 1]")?;
        Ok(SeesawLoss {
            label_counts: statistic(table(vec![0.0; num_classes], device)),
            p: self.p,
            q: self.q,
            log_epsilon: self.epsilon.ln(),
            layout: self.layout(num_classes),
        })
    }
}

/// Softmax cross-entropy of `logits + ln S`, with a factor `S_rj` for each row and other class.
///
/// `S_rj = min(1, N_j / N_y)^p max(1, p_j / max(p_y, epsilon))^q` and `S_ry = 1`, where `y` is the
/// row's label, `N` the labels seen so far, this batch included (at least 1), and `p` the softmax of
/// the logits, held constant. The class part is computed on foreground rows; two more columns,
/// foreground and background, have a softmax cross-entropy of their own on every row. Both are
/// divided by all rows. At test time `p_j = softmax(z)_j p_fg`.
///
/// Counts are exact in f32 up to 2^24 per class.
///
/// Source: Wang et al., CVPR 2021, <https://arxiv.org/abs/2008.10032>. The authors use a classifier
/// with normalised weights and features, scaled by 20.
#[derive(Module, Debug)]
pub struct SeesawLoss {
    label_counts: Param<Tensor<1>>, // [num_classes]
    p: f64,
    q: f64,
    log_epsilon: f64,
    #[module(skip)]
    layout: Layout,
}

impl SeesawLoss {
    /// Foreground rows of each class, `[num_classes]`.
    fn batch_counts(&self, labels: Tensor<1, Int>, kept: Option<Tensor<1>>) -> Tensor<1> {
        let labels = labels.without_autodiff();
        let num_classes = self.layout.num_classes();
        let counted = kept.unwrap_or_else(|| Tensor::ones([labels.dims()[0]], &labels.device()));
        // The last is background.
        sum_by_label(labels, counted, num_classes + 1).narrow(0, 0, num_classes)
    }
}

impl LossMethod for SeesawLoss {
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
        let Some(labels) = rows.class_labels().filter(|_| !rows.is_empty()) else {
            return rows.empty_output(reduction);
        };
        let batch_counts = self.batch_counts(labels, rows.kept());
        let counts = self.label_counts.val().without_autodiff() + batch_counts.clone();
        let shift = SeesawShift {
            log_counts: counts.clamp_min(1.0).log(),
            p: self.p as f32,
            q: self.q as f32,
            log_epsilon: self.log_epsilon as f32,
        };
        let terms = SoftmaxTerms { shift: Some(Shift::Seesaw(shift)), ..Default::default() };
        let loss = rows.softmax(terms, None, reduction)?;
        let update = StatisticsUpdate::LabelCounts(batch_counts);
        Ok(LossOutput { loss, update })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        let StatisticsUpdate::LabelCounts(counts) = update else {
            return foreign_unless(update.is_none(), &self.layout);
        };
        self.label_counts = statistic(self.label_counts.val() + counts.without_autodiff());
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        vec![("label_counts".into(), self.label_counts.val())]
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let names = [("label_counts", self.layout.num_classes())];
        let [counts] = named_state(self.layout.method(), names, state)?;
        self.label_counts = statistic(counts);
        Ok(())
    }
}
