//! How the gradients of each class's positives compare with those of its negatives.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use crate::{
    LossError,
    method::named_state,
    rows::{statistic, table},
};

/// Accumulated absolute gradients, and their ratio `g_j = min(1, P_j / (N_j + 1e-10))`, which is 1
/// before any batch.
#[derive(Module, Debug)]
pub(crate) struct GradientBalance {
    positive: Param<Tensor<1>>, // P, [num_classes]
    negative: Param<Tensor<1>>, // N, [num_classes]
    ratio: Param<Tensor<1>>,    // g, [num_classes]
}

impl GradientBalance {
    pub(crate) fn new(num_classes: usize, device: &Device) -> Self {
        let constant = |value: f64| statistic(table(vec![value; num_classes], device));
        Self { positive: constant(0.0), negative: constant(0.0), ratio: constant(1.0) }
    }

    /// `g`, `[num_classes]`.
    pub(crate) fn ratio(&self) -> Tensor<1> {
        self.ratio.val().without_autodiff()
    }

    /// Adds the gradients of a batch.
    pub(crate) fn add(&mut self, positive: Tensor<1>, negative: Tensor<1>) {
        let positive = self.positive.val() + positive.without_autodiff();
        let negative = self.negative.val() + negative.without_autodiff();
        self.ratio = statistic((positive.clone() / (negative.clone() + 1e-10)).clamp(0.0, 1.0));
        self.positive = statistic(positive);
        self.negative = statistic(negative);
    }

    pub(crate) fn state(&self) -> Vec<(String, Tensor<1>)> {
        vec![
            ("positive".into(), self.positive.val()),
            ("negative".into(), self.negative.val()),
            ("ratio".into(), self.ratio.val()),
        ]
    }

    pub(crate) fn load(
        &mut self,
        method: &'static str,
        state: Vec<(String, Tensor<1>)>,
    ) -> Result<(), LossError> {
        let [length] = self.ratio.val().dims();
        let names = ["positive", "negative", "ratio"].map(|name| (name, length));
        let [positive, negative, ratio] = named_state(method, names, state)?.map(statistic);
        (self.positive, self.negative, self.ratio) = (positive, negative, ratio);
        Ok(())
    }
}
