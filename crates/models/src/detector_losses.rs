//! What a training step of a detector gives back, and what keys its random choices.

use burn::tensor::Tensor;
use longtail_losses::StatisticsUpdate;

/// Keys the random choice of anchors and regions: the same key, the same choice.
///
/// The position of an image in its batch joins the key, counted from `first_image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepKey {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the training step, or of the micro-batch.
    pub step: u64,
    /// Position of the first image, if this is a part of a larger batch; else 0.
    pub first_image: u64,
}

/// The losses of a batch by name, and its part in the statistics of the classification losses.
#[derive(Debug, Clone)]
pub struct DetectorLosses {
    /// torchvision's names, each loss `[1]`. Two-stage: `loss_objectness`, `loss_rpn_box_reg`,
    /// `loss_classifier`, `loss_box_reg`, `loss_mask`; a cascade adds `_stage1` to `_stage3` to the
    /// losses of its box heads. RetinaNet: `classification`, `bbox_regression`.
    pub losses: Vec<(&'static str, Tensor<1>)>,
    /// What each of the losses was divided by, at least 1: anchors, regions or positives of the
    /// batch. The loss of two batches together is the mean weighted by these counts.
    pub counts: Vec<usize>,
    /// For [`Detector::apply`](crate::Detector::apply), after the step: one per classification loss.
    pub updates: Vec<StatisticsUpdate>,
    /// The place in `losses` of the loss that each update belongs to.
    pub updated_losses: Vec<usize>,
}

impl DetectorLosses {
    /// Sum of all losses, `[1]`.
    ///
    /// # Panics
    /// If there are none; a detector gives at least two.
    pub fn total(&self) -> Tensor<1> {
        let losses = self.losses.iter().map(|(_, loss)| loss.clone()).collect();
        Tensor::cat(losses, 0).sum()
    }

    /// A loss by its name.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        self.losses.iter().find(|(found, _)| *found == name).map(|(_, loss)| loss)
    }
}
