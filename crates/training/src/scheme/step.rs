//! What a scheme adds to the task that all schemes share.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use longtail_data::{Batch, DataError};
use longtail_losses::{ClassificationLoss, StatisticsUpdate};
use longtail_models::{Classifier, ClassifierHead};

use crate::error::TrainingError;
use crate::tensors::NamedTensors;

/// The losses of a run.
#[derive(Debug)]
pub(crate) struct StageLosses {
    /// That of the model that is evaluated.
    pub(super) main: ClassificationLoss,
    /// That of another head on the same backbone, if there is one.
    pub(super) second: Option<ClassificationLoss>,
}

impl StageLosses {
    /// The loss of the recipe: of the second head, or of the only one.
    pub(super) fn of_labels(&self) -> &ClassificationLoss {
        self.second.as_ref().unwrap_or(&self.main)
    }
}

/// A batch after its forward pass.
pub(crate) struct Forward {
    /// What is trained on, `[1]`.
    pub(super) loss: Tensor<1>,
    /// Its parts without their weights, `[1]` each.
    pub(super) parts: Vec<(&'static str, Tensor<1>)>,
    /// Of the head that is evaluated, `[rows, num_logits]`.
    pub(super) logits: Tensor<2>,
    /// The class of each row of the logits.
    pub(super) labels: Vec<usize>,
    /// For [`StageLosses::main`] and [`StageLosses::second`].
    pub(super) updates: [StatisticsUpdate; 2],
}

/// Another head that is evaluated in the end.
pub(crate) struct SecondHead<'a> {
    /// Name of its folder.
    pub(super) name: &'static str,
    pub(super) head: &'a ClassifierHead,
}

/// One scheme: its batches, its loss and its state.
pub(crate) trait SchemeStep: Sized {
    /// All that the optimizer moves.
    type Model: Module;
    type Batch;
    type Batches: ExactSizeIterator<Item = Result<Self::Batch, DataError>>;

    fn begin_epoch(&mut self, epoch: u64);

    fn num_batches(&self) -> usize;

    fn batches(&self, epoch: u64, start: usize) -> Self::Batches;

    /// The images that the learning rate and the speed are counted by.
    fn images(batch: &Self::Batch) -> &Batch;

    fn forward(
        &mut self,
        model: &Self::Model,
        losses: &StageLosses,
        batch: Self::Batch,
        device: &Device,
    ) -> Result<Forward, TrainingError>;

    /// The model that is evaluated.
    fn classifier(model: &Self::Model) -> &Classifier;

    fn second_head(model: &Self::Model) -> Option<SecondHead<'_>>;

    /// Adds the state to a checkpoint.
    fn collect(&self, tensors: &mut NamedTensors) -> Result<(), TrainingError>;

    /// Takes it out again.
    fn restore(self, tensors: &mut NamedTensors) -> Result<Self, String>;
}
