//! The training of a classification recipe, from first weights to report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use longtail_eval::ClassificationReport;

use crate::classification::ClassificationTask;
use crate::error::TrainingError;
use crate::progress::ProgressMode;
use crate::recipe::Recipe;
use crate::recipe_file::RecipeForm;
use crate::replica_group::ReplicaDevices;
use crate::run::Run;
use crate::run_folder::RunFolder;
use crate::scheme::{Scheme, SchemeStart};
use crate::stage_two::two_stages;
use crate::task::Task;
use crate::threads::use_threads;

/// Where a run goes, and how it can be stopped.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run folder.
    pub out: PathBuf,
    /// Goes on from the folder's last checkpoint instead of refusing to use the folder.
    pub resume: bool,
    /// Set to true from elsewhere (Ctrl-C): the run saves a checkpoint and returns.
    pub stop: Arc<AtomicBool>,
    /// What is shown meanwhile.
    pub progress: ProgressMode,
    /// Further devices that share each batch with the first one. They must be able to sum tensors
    /// among themselves: CUDA devices (by NCCL), or devices of one remote server. `batch_size`
    /// stays that of all devices together, and a step stays the same, apart from batch norms that
    /// train and from losses that are no sums over rows: each device computes BAGS (means per group),
    /// GHM-C (bins), DropLoss (share of the tail), the federated loss (classes of the batch), Seesaw
    /// and LOCE (which count the batch first) on its own part. Default: none.
    pub replicas: Vec<Device>,
}

impl TrainOptions {
    /// A new run in `out`, with progress shown.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = ProgressMode::Auto;
        Self { out: out.into(), resume: false, stop, progress, replicas: Vec::new() }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome<R = ClassificationReport> {
    /// With a report on the test set.
    Finished(Box<R>),
    /// By [`TrainOptions::stop`]; it can be resumed.
    Interrupted {
        /// Optimizer steps done.
        step: u64,
    },
}

/// Trains a recipe and evaluates the result.
///
/// The run folder then holds `recipe.toml` (resolved), `metrics.jsonl`, the checkpoints
/// `last.safetensors` and `best.safetensors` (by test accuracy), the final weights
/// `model.safetensors`, and the report of the final weights with its plots. The best checkpoint is
/// chosen on the test set, also where there are validation images: report the last one.
///
/// With a second stage, the first is a run of its own in `stage_one` within the folder, with its own
/// report; the second takes the first device alone.
/// # Errors
/// If the recipe, the data, the devices or the folder is refused (nothing is left behind then), a file cannot be
/// written, or the loss is no longer finite.
pub fn train(
    recipe: &Recipe,
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome, TrainingError> {
    train_from(recipe, device, options, None)
}

/// As [`train`]; the first stage of two may be a run that is finished already.
pub(crate) fn train_from(
    recipe: &Recipe,
    device: &Device,
    options: &TrainOptions,
    first_stage: Option<&Path>,
) -> Result<Outcome, TrainingError> {
    recipe.check()?;
    use_threads(recipe.run.threads)?;
    if recipe.stage_two.is_some() {
        return two_stages(recipe, device, options, first_stage);
    }
    let out = &options.out;
    let start = || SchemeStart::new(recipe, device, options);
    match &recipe.scheme {
        Scheme::Plain {} => {
            let devices = ReplicaDevices::new(device, &options.replicas)?;
            let datasets = recipe.dataset.load()?;
            run_in(out, recipe, ClassificationTask::new(recipe, &devices, datasets)?, options)
        }
        Scheme::ClassBalancedDistillation(config) => {
            run_in(out, recipe, start()?.class_balanced(config)?, options)
        }
        Scheme::Contrast(config) => run_in(out, recipe, start()?.contrast(config)?, options),
        Scheme::SelfDistillation(config) => {
            run_in(out, recipe, start()?.self_distillation(config)?, options)
        }
        Scheme::Breadcrumb(config) => run_in(out, recipe, start()?.breadcrumb(config)?, options),
    }
}

/// Carries out a run in a folder.
pub(crate) fn run_in<R: RecipeForm, T: Task>(
    out: &Path,
    recipe: &R,
    run: Run<T>,
    options: &TrainOptions,
) -> Result<Outcome<T::Report>, TrainingError> {
    let (folder, start) = RunFolder::open(out, recipe, options.resume)?;
    let result = run.start(start, &folder).and_then(|run| run.train(&folder, options));
    if let Err(error) = &result
        && !matches!(error, TrainingError::LossNotFinite { .. })
    {
        folder.discard();
    }
    result
}
