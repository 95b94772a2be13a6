//! Softmax cross-entropy: the baseline.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use longtail_kernels::SoftmaxTerms;
use serde::{Deserialize, Serialize};

use crate::{
    LossError, LossMethod, Reduction, RowLabels,
    activation::class_softmax,
    class_weights::weight_table,
    layout::{Background, Layout},
    output::LossOutput,
    rows::Rows,
};

/// Configuration of [`CrossEntropyLoss`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrossEntropyConfig {
    /// Whether background is a class of its own, with a column after the others. Default: false.
    pub background: bool,
}

impl CrossEntropyConfig {
    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        let background = if self.background { Background::Column } else { Background::None };
        Layout::softmax("cross-entropy", num_classes, background)
    }

    /// Reads no statistics, only the number of classes.
    pub fn init(&self, num_classes: usize) -> CrossEntropyLoss {
        CrossEntropyLoss { class_weights: None, layout: self.layout(num_classes) }
    }
}

/// Softmax cross-entropy, `L = 1/R sum_r -ln softmax(logits_r)[y_r]`.
///
/// With class weights `w`: `L = sum_r w_y -ln softmax(logits_r)[y_r] / sum_r w_y`.
#[derive(Module, Debug)]
pub struct CrossEntropyLoss {
    class_weights: Option<Tensor<1>>, // [num_labels]
    #[module(skip)]
    layout: Layout,
}

impl LossMethod for CrossEntropyLoss {
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
        let weights = self.class_weights.as_ref();
        Ok(rows.softmax(SoftmaxTerms::default(), weights, reduction)?.into())
    }

    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        class_softmax(logits, &self.layout)
    }

    fn set_class_weights(&mut self, weights: &[f64], device: &Device) -> Result<(), LossError> {
        self.class_weights = Some(weight_table(weights, &self.layout, device)?);
        Ok(())
    }
}
