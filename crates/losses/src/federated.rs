//! Federated loss: each step counts the classes of its batch and a few others.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::{Labels, Shift, SigmoidTerms, SoftmaxTerms};
use longtail_types::{ClassCounts, KeyedRng, Stream};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::{class_sigmoid, class_softmax},
    draws::{draws_state, load_draws},
    error::check_parameter,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    prior::bias_of,
    rows::{Rows, indices, sum_by_label},
};

const METHOD: &str = "federated";

/// Far below any logit: `e` to this power is 0 in f32.
const MASKED: f32 = -1e7;

/// What the classes that do not count are left out of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FederatedForm {
    /// Sigmoid cross-entropy, without a column for background: the authors' form.
    #[default]
    Sigmoid,
    /// The sum of a softmax over the classes.
    Softmax,
    /// The sum of a softmax over the classes and background, which always counts.
    SoftmaxWithBackground,
}

/// Configuration of [`FederatedLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FederatedConfig {
    /// Classes that count in a step; background takes one of the places if a row is background.
    /// Default: the authors' 50.
    pub sampled_classes: usize,
    /// Classes beyond those of the batch are drawn with this power of their image count. Default:
    /// the authors' 0.5.
    pub power: f64,
    /// The form. Default: sigmoid.
    pub form: FederatedForm,
    /// Score that every class starts with in the sigmoid form. Default: the authors' 0.01.
    pub prior: f64,
    /// Seed of the draws. Default: that of the recipe; without one 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for FederatedConfig {
    fn default() -> Self {
        let form = FederatedForm::default();
        Self { sampled_classes: 50, power: 0.5, form, prior: 0.01, seed: None }
    }
}

impl FederatedConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        match self.form {
            FederatedForm::Sigmoid => Layout::sigmoid(METHOD, num_classes, Background::NoColumn),
            FederatedForm::Softmax => Layout::softmax(METHOD, num_classes, Background::None),
            FederatedForm::SoftmaxWithBackground => {
                Layout::softmax(METHOD, num_classes, Background::Column)
            }
        }
    }

    /// Reads the image counts; a class without an image counts as having one.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn init(&self, counts: &ClassCounts, device: &Device) -> Result<FederatedLoss, LossError> {
        let sampled = self.sampled_classes as f64;
        check_parameter("sampled_classes", sampled, self.sampled_classes > 0, "at least 1")?;
        check_parameter("power", self.power, self.power.is_finite(), "finite")?;
        let weight = |&count: &u64| (count.max(1) as f64).powf(self.power);
        let prior_bias = bias_of(self.prior)?;
        Ok(FederatedLoss {
            weights: counts.image_counts().iter().map(weight).collect(),
            sampled_classes: self.sampled_classes,
            seed: self.seed.unwrap_or_default(),
            draws: 0,
            prior_bias: (self.form == FederatedForm::Sigmoid).then_some(prior_bias),
            device: device.clone().without_autodiff(),
            layout: self.layout(counts.num_classes()),
        })
    }
}

/// Cross-entropy over a part of the classes, another one in every step.
///
/// Those of the batch count, and others are drawn without replacement, with probabilities in
/// proportion to a power of their image counts, until there are `sampled_classes`. Sigmoid:
/// `L = 1/R sum_r sum_{j in S} BCE(logit_rj, y_rj)`. Softmax:
/// `L = -1/R sum_r ln(e^{z_ry} / sum_{k in S} e^{z_rk})`, background being in `S` where it has a
/// column. A batch of more classes than `sampled_classes` counts all of its own.
///
/// The draw is a function of seed and number of draws; the classes of the batch stay on the device.
/// `forward` does not count a draw, [`apply`](LossMethod::apply) does: apply after every batch.
///
/// Source: Zhou et al., <https://arxiv.org/abs/2103.07461>, and Detic, ECCV 2022,
/// <https://arxiv.org/abs/2201.02605>. As in the released code background takes one of the places.
/// Its softmax form weighs rows by whether their class counts, which it always does: that is plain
/// cross-entropy. Ours leaves the other classes out of the sum.
#[derive(Module, Debug)]
pub struct FederatedLoss {
    #[module(skip)]
    weights: Vec<f64>, // [num_classes]
    sampled_classes: usize,
    seed: u64,
    draws: u64,
    #[module(skip)]
    prior_bias: Option<f32>,
    #[module(skip)]
    device: Device,
    #[module(skip)]
    layout: Layout,
}

impl FederatedLoss {
    /// The order in which the next draw takes classes that are not in the batch, until there are
    /// enough.
    pub fn next_order(&self) -> Vec<usize> {
        self.next_first(self.weights.len())
    }

    /// [`next_order`](Self::next_order), but only the first `count` classes are in order.
    fn next_first(&self, count: usize) -> Vec<usize> {
        let mut rng = KeyedRng::new(self.seed, Stream::FederatedClasses, self.draws, 0);
        // Exponential waiting times: the order of successive draws without replacement.
        let time = |(class, weight): (usize, &f64)| (-(-rng.unit()).ln_1p() / weight, class);
        let mut times: Vec<(f64, usize)> = self.weights.iter().enumerate().map(time).collect();
        let earlier = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if count < times.len() {
            times.select_nth_unstable_by(count, earlier);
        }
        let count = count.min(times.len());
        times[..count].sort_unstable_by(earlier);
        times.into_iter().map(|(_, class)| class).collect()
    }

    /// 1 for the classes that count, `[num_classes]`.
    fn sampled(&self, rows: &Rows) -> Tensor<1> {
        let num_classes = self.layout.num_classes();
        let [num_rows, _] = rows.logits.dims();
        let device = rows.logits.device().without_autodiff();
        let kept = match rows.kept() {
            Some(kept) => kept.without_autodiff(),
            None => Tensor::ones([num_rows], &device),
        };
        // [num_labels]: the classes, then background.
        let counts = match &rows.labels {
            Labels::Classes(labels) => sum_by_label(labels.clone(), kept, num_classes + 1),
            Labels::MultiLabel(targets) => {
                let targets = targets.clone().without_autodiff();
                let is_background = -targets.clone().max_dim(1).squeeze_dim::<1>(1) + 1.0;
                let background = (is_background * kept).sum();
                let counts = targets.sum_dim(0).squeeze_dim::<1>(0);
                Tensor::cat(vec![counts, background], 0)
            }
        };
        let is_there = counts.clamp_max(1.0);
        let num_there = is_there.clone().sum();
        let is_there = is_there.narrow(0, 0, num_classes);
        // No class later in the order is drawn: so many before it are, or are there already.
        let most_there = match &rows.labels {
            Labels::Classes(_) => num_rows,
            Labels::MultiLabel(_) => num_classes,
        };
        let order = self.next_first(self.sampled_classes.saturating_add(most_there));
        let mut place = vec![0; num_classes];
        order.iter().enumerate().for_each(|(position, &class)| place[class] = position);
        // Classes so far if those of the order are taken that are not there already.
        let others: Tensor<1> = 1.0 - is_there.clone();
        let num_taken = others.select(0, indices(&order, &device)).cumsum(0) + num_there;
        let is_drawn = num_taken.lower_equal_elem(self.sampled_classes as f32).float();
        is_there.max_pair(is_drawn.select(0, indices(&place, &device)))
    }
}

impl LossMethod for FederatedLoss {
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
        let sampled = self.sampled(&rows);
        let loss = if self.layout.is_multi_label() {
            let terms = SigmoidTerms { negative_weights: Some(sampled), ..Default::default() };
            rows.sigmoid(terms, reduction)?
        } else {
            let mut shift: Tensor<1> = (1.0 - sampled) * MASKED;
            if self.layout.background() == Background::Column {
                shift = Tensor::cat(vec![shift.clone(), shift.zeros_like().narrow(0, 0, 1)], 0);
            }
            let shift = Some(Shift::PerColumn(shift));
            rows.softmax(SoftmaxTerms { shift, ..Default::default() }, None, reduction)?
        };
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        if self.layout.is_multi_label() {
            class_sigmoid(logits, &self.layout)
        } else {
            class_softmax(logits, &self.layout)
        }
    }

    fn prior_bias(&self) -> Option<f32> {
        self.prior_bias
    }

    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        if let StatisticsUpdate::Draws(draws) = update {
            self.draws += draws;
            return Ok(());
        }
        foreign_unless(update.is_none(), &self.layout)
    }

    fn state(&self) -> Vec<(String, Tensor<1>)> {
        draws_state(self.draws, &self.device)
    }

    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.draws = load_draws(self.layout.method(), state)?;
        Ok(())
    }
}
