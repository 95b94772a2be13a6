//! Softmax over the classes on foreground rows, and a two-way softmax over foreground and
//! background on every row.

use burn::tensor::{Int, Tensor};
use longtail_kernels::{SoftmaxTerms, softmax_loss};

/// The two parts of logits `[rows, num_classes + 2]` and their labels in `0..=num_classes`.
pub(crate) struct ObjectnessRows {
    /// `[rows, num_classes]`
    pub(crate) class_logits: Tensor<2>,
    /// `[rows]` in `0..num_classes`; background rows have the last class, to be left out.
    pub(crate) class_labels: Tensor<1, Int>,
    /// 1 on foreground rows, `[rows]`.
    pub(crate) is_foreground: Tensor<1>,
    objectness_logits: Tensor<2>,
    objectness_labels: Tensor<1, Int>,
}

impl ObjectnessRows {
    pub(crate) fn new(logits: Tensor<2>, labels: Tensor<1, Int>, num_classes: usize) -> Self {
        let is_background = labels.clone().greater_equal_scalar(num_classes as i64);
        Self {
            class_logits: logits.clone().narrow(1, 0, num_classes),
            objectness_logits: logits.narrow(1, num_classes, 2),
            class_labels: labels.clamp(0, num_classes as i64 - 1),
            is_foreground: is_background.clone().bool_not().float(),
            objectness_labels: is_background.int(),
        }
    }

    /// Both parts added, one value per row. `row_weights` weight both.
    pub(crate) fn loss(self, terms: SoftmaxTerms, row_weights: Option<Tensor<1>>) -> Tensor<1> {
        let terms = SoftmaxTerms { row_weights: Some(self.is_foreground), ..terms };
        let loss = softmax_loss(self.class_logits, self.class_labels, terms)
            + softmax_loss(self.objectness_logits, self.objectness_labels, SoftmaxTerms::default());
        match row_weights {
            None => loss,
            Some(weights) => loss * weights,
        }
    }
}
