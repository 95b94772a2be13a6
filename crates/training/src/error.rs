//! What can go wrong between a recipe and a trained model.

use std::io;
use std::path::PathBuf;

use longtail_data::DataError;
use longtail_eval::EvalError;
use longtail_kernels::HostReadError;
use longtail_losses::LossError;
use longtail_models::ModelError;
use longtail_types::CountsError;
use thiserror::Error;

/// An error of this crate; the message names the file or key, and the value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or folder that cannot be written; no partial file is left.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Ctrl-C cannot be listened for.
    #[error("cannot listen for Ctrl-C: {problem}")]
    Interrupt {
        /// The system's reason.
        problem: String,
    },
    /// A recipe that is not TOML, or has an unknown key, a missing key or a wrong type.
    #[error("recipe {name}: {problem}")]
    RecipeSyntax {
        /// The file, or what was overridden.
        name: String,
        /// What the parser says: line, key, allowed values.
        problem: String,
    },
    /// An override that is not `key.path=value`.
    #[error("override `{assignment}`: {problem}")]
    Override {
        /// The override as given.
        assignment: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A value of a recipe that makes no sense.
    #[error("recipe key `{key}`: {problem}")]
    RecipeValue {
        /// Dotted path of the key.
        key: String,
        /// The value and what is allowed.
        problem: String,
    },
    /// A run folder that is already there.
    #[error(
        "{} already holds a run: resume it, or choose another folder",
        path.display()
    )]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without a run.
    #[error("{} holds no run: {problem}", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A run to build on that was stopped before its end.
    #[error(
        "the run in {} is not finished, there is no report.json: resume it, or name one of its \
         checkpoints",
        path.display()
    )]
    NotFinished {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint that is damaged or no checkpoint at all.
    #[error("checkpoint {}: {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint of another recipe, architecture or data set.
    #[error("checkpoint {} belongs to another run: {differences}", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// Each key with both values.
        differences: String,
    },
    /// Published weights that are no detector's.
    #[error("the weights `{name}` are a classifier's, not a detector's")]
    NoDetector {
        /// Name of the set.
        name: String,
    },
    /// Two sets whose labels mean different classes.
    #[error("the classes of the validation set are others than those of the model: {difference}")]
    ClassesDiffer {
        /// The first difference: the model's, then the validation set's.
        difference: String,
    },
    /// The loss became NaN or infinite.
    #[error(
        "the loss is {loss} between step {first_step} and step {step} (learning rate {lr}); \
         the last checkpoint is from before: lower `optimizer.lr`, or clip with `gradient.clip_norm`"
    )]
    LossNotFinite {
        /// First step since the loss was last read.
        first_step: u64,
        /// Step at which it was read.
        step: u64,
        /// Its value, and which of its parts are not finite.
        loss: String,
        /// Learning rate of that step.
        lr: f64,
    },
    /// Devices that can't share a run.
    #[error("devices: {problem}")]
    Replicas {
        /// Which device, and which ones can.
        problem: String,
    },
    /// The replicas of a run have different weights.
    #[error(
        "the replicas differ at step {step}: `{name}` of device {replica} is up to {difference} \
         away from that of device 0, whose largest value is {size}; the last checkpoint holds \
         device 0: go on with one device, or with devices of one kind"
    )]
    Diverged {
        /// Step at which they were compared.
        step: u64,
        /// Place of the device in the list.
        replica: usize,
        /// Path of the tensor.
        name: String,
        /// Largest difference.
        difference: f32,
        /// Largest value of the tensor.
        size: f32,
    },
    /// Recipes that cannot be compared.
    #[error("comparison: {problem}")]
    Comparison {
        /// What is wrong.
        problem: String,
    },
    /// The number of threads was already fixed.
    #[error("{wanted} threads asked for by `run.threads`, but this process already uses {found}")]
    Threads {
        /// Number of the recipe.
        wanted: usize,
        /// Number in use.
        found: usize,
    },
    /// Data sets, transforms and loading.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Losses.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Models and weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Evaluation and reports.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Class counts.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// The device.
    #[error(transparent)]
    Device(#[from] HostReadError),
}
