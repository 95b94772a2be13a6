//! Softmax Equalization Loss (SEQL): tail classes drop out of other rows' softmax at random.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use longtail_kernels::{RandomMask, Shift, SoftmaxTerms};
use longtail_types::{ClassCounts, TailRule};
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels, StatisticsUpdate,
    activation::class_softmax,
    class_weights::weight_table,
    draws::{draws_state, load_draws},
    error::check_parameter,
    layout::{Background, Layout},
    method::foreign_unless,
    output::LossOutput,
    rows::{Rows, table},
};

/// Far below any logit: `e` to this power is 0 in f32.
const MASKED: f32 = -1e7;

/// Configuration of [`SoftmaxEqualizationLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxEqualizationConfig {
    /// Which classes are tail, by image counts. Default: image frequency below 4.3e-4, the paper's
    /// setting for ImageNet-LT (at most 49 images). On a small data set it selects no class, which
    /// is an error: choose a count.
    pub tail: TailRule,
    /// Probability that a tail class is left out of a row. Default: the paper's 0.9 for
    /// ImageNet-LT.
    pub gamma: f64,
    /// Seed of the random masks. Default: that of the recipe; without one 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for SoftmaxEqualizationConfig {
    fn default() -> Self {
        Self { tail: TailRule::ImageFrequencyBelow(4.3e-4), gamma: 0.9, seed: None }
    }
}

impl SoftmaxEqualizationConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        Layout::softmax("seql", num_classes, Background::None)
    }

    /// Reads the image counts and the number of images.
    ///
    /// # Errors
    /// If the tail rule selects no class or every class, or `gamma` is outside `[0, 1]`.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<SoftmaxEqualizationLoss, LossError> {
        self.init_with_tail(&self.tail.tail_classes(counts)?, device)
    }

    /// Takes the tail classes as they are.
    ///
    /// # Errors
    /// If `gamma` is outside `[0, 1]`.
    pub fn init_with_tail(
        &self,
        is_tail: &[bool],
        device: &Device,
    ) -> Result<SoftmaxEqualizationLoss, LossError> {
        check_parameter("gamma", self.gamma, (0.0..=1.0).contains(&self.gamma), "in [0, 1]")?;
        Ok(SoftmaxEqualizationLoss {
            class_weights: None,
            is_tail: is_tail.to_vec(),
            tail: table(is_tail.iter().map(|&tail| f64::from(tail)), device),
            gamma: self.gamma,
            seed: self.seed.unwrap_or_default(),
            draws: 0,
            device: device.clone().without_autodiff(),
            layout: self.layout(is_tail.len()),
        })
    }
}

/// Softmax cross-entropy whose sum leaves tail classes out of rows of other classes at random.
///
/// `L = -1/R sum_r ln(e^{z_ry} / sum_k w_rk e^{z_rk})` with `w_rk = 1 - b_rk T(k) (1 - y_rk)`,
/// where `T(k)` is 1 for tail classes and `b_rk` is drawn with probability `gamma` for each row and
/// class. No background. A row whose label is the only class left has loss 0.
///
/// The mask is a function of seed, number of draws, row and class. `forward` does not count a draw,
/// [`apply`](LossMethod::apply) does: apply after every batch, also within accumulated steps.
///
/// Source: Tan et al., CVPR 2020, <https://arxiv.org/abs/2003.05176>. Masked entries are shifted
/// far down before the log-softmax, as the authors do; the plain quotient overflows.
#[derive(Module, Debug)]
pub struct SoftmaxEqualizationLoss {
    class_weights: Option<Tensor<1>>, // [num_classes]
    #[module(skip)]
    is_tail: Vec<bool>, // T(k), [num_classes]
    tail: Tensor<1>,                  // T(k), [num_classes]
    gamma: f64,
    seed: u64,
    draws: u64,
    #[module(skip)]
    device: Device,
    #[module(skip)]
    layout: Layout,
}

impl SoftmaxEqualizationLoss {
    /// The next draw `b_rk T(k)`, 1 where a class is left out unless it is the label; row-major,
    /// `[num_rows, num_classes]`.
    pub fn next_mask(&self, num_rows: usize) -> Vec<f32> {
        let mask = self.next_random_mask();
        let row = |row: usize| {
            let classes = self.is_tail.iter().enumerate();
            let mask = &mask;
            classes.map(move |(class, &tail)| f32::from(tail && mask.is_drawn(row, class)))
        };
        (0..num_rows).flat_map(row).collect()
    }

    fn next_random_mask(&self) -> RandomMask {
        let (probability, seed, draw) = (self.gamma, self.seed, self.draws);
        RandomMask { columns: self.tail.clone(), probability, seed, draw }
    }

    /// As [`forward_with`](LossMethod::forward_with), with a mask of the caller's, laid out as
    /// [`next_mask`](Self::next_mask) gives it, `[rows, num_classes]`.
    ///
    /// # Errors
    /// If a shape is wrong.
    pub fn forward_masked(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        mask: Tensor<2>,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        let rows = Rows::new(logits, labels, &self.layout)?;
        let [found, num_columns] = mask.dims();
        let [expected, _] = rows.logits.dims();
        if found != expected {
            return Err(LossError::RowCount { what: "SEQL mask", expected, found });
        }
        self.layout.check_width(num_columns)?;
        let Some(labels) = rows.class_labels().filter(|_| !rows.is_empty()) else {
            return rows.empty_output(reduction);
        };
        let classes = Tensor::<1, Int>::arange(0..num_columns as i64, &labels.device());
        let is_label = labels.unsqueeze_dim::<2>(1).equal(classes.unsqueeze());
        let shift = mask.mask_fill(is_label, 0.0) * MASKED;
        let terms = SoftmaxTerms { shift: Some(Shift::PerEntry(shift)), ..Default::default() };
        let loss = rows.softmax(terms, self.class_weights.as_ref(), reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }
}

impl LossMethod for SoftmaxEqualizationLoss {
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
        let shift = Some(Shift::Random(self.next_random_mask()));
        let terms = SoftmaxTerms { shift, ..Default::default() };
        let loss = rows.softmax(terms, self.class_weights.as_ref(), reduction)?;
        Ok(LossOutput { loss, update: StatisticsUpdate::Draws(1) })
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
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

    fn set_class_weights(&mut self, weights: &[f64], device: &Device) -> Result<(), LossError> {
        self.class_weights = Some(weight_table(weights, &self.layout, device)?);
        Ok(())
    }
}
