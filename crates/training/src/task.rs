//! What a run trains, behind the one loop of all runs.

use longtail_data::DataError;

use crate::checkpoint::RunState;
use crate::error::TrainingError;
use crate::metrics::{Losses, NamedNumbers};
use crate::run_folder::RunFolder;
use crate::tensors::NamedTensors;

/// Data, model and report of a kind of training. The loop knows steps, files and time; a task knows
/// what a batch is and what it does to the model.
pub(crate) trait Task: Sized {
    /// A batch on the host.
    type Batch;
    /// The batches of an epoch, loaded ahead.
    type Batches: ExactSizeIterator<Item = Result<Self::Batch, DataError>>;
    /// The result of an evaluation.
    type Report;

    /// Called before the first batch of an epoch, and again when a run goes on inside it.
    fn begin_epoch(&mut self, epoch: u64) -> Result<(), TrainingError>;

    /// The batches of an epoch from batch `start` on.
    fn batches(&self, epoch: u64, start: usize) -> Self::Batches;

    /// Number of images of a batch, and their `[height, width]` with padding.
    fn shape(batch: &Self::Batch) -> (usize, [usize; 2]);

    /// Forward and backward of a batch; the parameters stay. No other batch of the run has its `key`.
    fn accumulate(&mut self, batch: Self::Batch, key: u64) -> Result<(), TrainingError>;

    /// Moves the parameters by the gradients accumulated so far.
    fn step(&mut self, lr: f64) -> Result<(), TrainingError>;

    /// Compares the weights of the replicas after `step` steps, if there are several.
    /// # Errors
    /// If they differ.
    fn check_replicas(&self, step: u64) -> Result<(), TrainingError>;

    /// Reads back the losses since they were last read.
    fn read_losses(&mut self) -> Result<Losses, TrainingError>;

    /// Evaluates the present model, at the end of the run or on the way.
    fn evaluate(&self, is_final: bool) -> Result<Self::Report, TrainingError>;

    /// The few numbers of a report that are watched.
    fn summary(report: &Self::Report) -> Summary;

    /// Copies all tensors of the run to the host, and completes its state.
    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError>;

    /// Takes the tensors of a checkpoint.
    fn restore(self, tensors: NamedTensors, state: &RunState) -> Result<Self, String>;

    /// Writes final weights and report into the run folder.
    fn finish(&self, report: &Self::Report, folder: &RunFolder) -> Result<(), TrainingError>;
}

/// An evaluation in short.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// For `metrics.jsonl`.
    pub(crate) numbers: NamedNumbers<f64>,
    /// For people.
    pub(crate) line: String,
    /// What the best checkpoint is chosen by.
    pub(crate) score: f64,
}
