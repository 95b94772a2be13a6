//! The run of a second stage, after a first or on a finished one.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use longtail_eval::ClassificationReport;
use longtail_types::ClassCounts;

use super::config::{CrtConfig, LwsConfig, RetrainConfig, SecondStage};
use super::fitted::FittedTask;
use super::meta_task::MetaSamplerTask;
use super::recipe::ClassifierRecipe;
use super::retrain::RetrainTask;
use super::start::Base;
use crate::calibration;
use crate::checkpoint::RunState;
use crate::error::TrainingError;
use crate::recipe::Recipe;
use crate::run::{Plan, Run};
use crate::run_folder::{RunFolder, Start, check_finished};
use crate::task::Task;
use crate::threads::use_threads;
use crate::train::{Outcome, TrainOptions, train};
use crate::trained::TrainedModel;

/// Carries out a second stage on a finished run, and evaluates the result.
///
/// The run folder holds what [`train`] writes; its checkpoint has the backbone too, so that
/// [`evaluate`](crate::evaluate) and [`predict`](crate::predict) need nothing else. It takes one
/// device.
/// # Errors
/// As [`train`], if there are [`TrainOptions::replicas`], and if the finished run cannot be read, is
/// a folder without report, or is not of this data set.
pub fn train_classifier(
    recipe: &ClassifierRecipe,
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome, TrainingError> {
    recipe.check()?;
    refuse_replicas(options)?;
    check_finished(&recipe.base())?;
    let trained = TrainedModel::load(&recipe.base(), &[""; 0], device)?;
    train_classifier_on(&trained, recipe, options)
}

/// The same on a model that is loaded already, on its device: many methods and seeds can follow each
/// other. `base` of the recipe is not read.
/// # Errors
/// As [`train_classifier`].
pub fn train_classifier_on(
    trained: &TrainedModel,
    recipe: &ClassifierRecipe,
    options: &TrainOptions,
) -> Result<Outcome, TrainingError> {
    recipe.check()?;
    refuse_replicas(options)?;
    use_threads(recipe.run.threads)?;
    let whole = recipe.whole(trained.recipe());
    whole.check()?;
    let texts = [recipe.to_toml(), trained.recipe().to_toml()];
    let (folder, start) = RunFolder::open(&options.out, recipe, options.resume)?;
    let result = second_stage(whole, trained, texts, start, (&folder, options));
    if let Err(error) = &result
        && !matches!(error, TrainingError::LossNotFinite { .. })
    {
        folder.discard();
    }
    result
}

fn refuse_replicas(options: &TrainOptions) -> Result<(), TrainingError> {
    if options.replicas.is_empty() {
        return Ok(());
    }
    let problem = "a second stage on a finished run takes one".to_string();
    Err(TrainingError::Replicas { problem })
}

/// Both stages of a recipe. The first is a run of its own, in `stage_one` of the folder or in
/// `finished`, a run of the same first stage that is there already.
pub(crate) fn two_stages(
    recipe: &Recipe,
    device: &Device,
    options: &TrainOptions,
    finished: Option<&Path>,
) -> Result<Outcome, TrainingError> {
    let first = recipe.first_stage();
    if recipe.calibration.is_some() {
        let counts = recipe.dataset.load()?.train.class_counts()?;
        check_calibration(recipe, &counts, device)?;
    }
    // The folder is taken before the first stage begins.
    let (folder, start) = RunFolder::open(&options.out, recipe, options.resume)?;
    let own = folder.stage_one();
    let place = match finished {
        Some(finished) => finished.to_path_buf(),
        None => {
            // The folder around it has said whether there may be something to go on with.
            let options = TrainOptions { out: own.clone(), resume: true, ..options.clone() };
            if !own.join("report.json").exists() {
                let result = train(&first, device, &options);
                if result.is_err() && !own.exists() {
                    folder.discard();
                }
                if let Outcome::Interrupted { step } = result? {
                    return Ok(Outcome::Interrupted { step });
                }
            }
            own
        }
    };
    let trained = TrainedModel::load(&place, &[""; 0], device)?;
    let differences = trained.recipe().differences(&first);
    if !differences.is_empty() {
        let differences = format!("there, {}", differences.join("; "));
        return Err(TrainingError::OtherRun { path: place, differences });
    }
    let whole = Recipe { seed: recipe.seed.wrapping_add(1), ..recipe.clone() };
    second_stage(whole, &trained, [recipe.to_toml(), String::new()], start, (&folder, options))
}

/// `texts` are the recipe of the run and, where that does not hold everything, the recipe of the run
/// it builds on.
fn second_stage(
    whole: Recipe,
    trained: &TrainedModel,
    texts: [String; 2],
    start: Start,
    place: (&RunFolder, &TrainOptions),
) -> Result<Outcome, TrainingError> {
    let Some(stage) = whole.stage_two.clone() else {
        let problem = "the recipe has no second stage".to_string();
        return Err(TrainingError::RecipeValue { key: "stage_two".into(), problem });
    };
    let data = whole.dataset.load()?;
    let counts = data.train.class_counts()?;
    let classes = data.train.class_map().clone();
    let [text, base_text] = texts;
    let mut state = RunState::new(text, counts.clone(), classes);
    state.base = (!base_text.is_empty()).then_some(base_text);
    state.base_checkpoint = Some(trained.checkpoint().clone());
    state.image_size = trained.image_size();
    if let Start::Resumed(saved, _) = &start {
        same_base(&place.0.last(), saved, &state)?;
    }
    let known = RunState::new(String::new(), trained.counts().clone(), trained.classes().clone());
    if let Some(differences) = known.data_difference(&state) {
        let path = place.0.path().to_path_buf();
        return Err(TrainingError::OtherRun { path, differences });
    }
    check_calibration(&whole, &counts, &trained.device())?;
    let device = trained.device().autodiff();
    let base = Base {
        recipe: whole,
        stage: &stage,
        trained,
        train: Arc::new(data.train),
        validation: data.validation.map(Arc::new),
        test: data.test,
        counts,
        device,
    };
    match &stage {
        SecondStage::Classifier(RetrainConfig { sampler, reweighting, training, .. }) => carry_out(
            RetrainTask::new(&base, training, *sampler, *reweighting)?,
            state,
            start,
            place,
        ),
        SecondStage::Crt(CrtConfig { sampler, training, .. })
        | SecondStage::Lws(LwsConfig { sampler, training, .. }) => {
            carry_out(RetrainTask::new(&base, training, *sampler, None)?, state, start, place)
        }
        SecondStage::MetaSampler(config) => {
            carry_out(MetaSamplerTask::new(&base, config)?, state, start, place)
        }
        SecondStage::TauNorm(config) => {
            carry_out(FittedTask::tau_norm(&base, config)?, state, start, place)
        }
        SecondStage::Ncm(config) => carry_out(FittedTask::ncm(&base, config)?, state, start, place),
    }
}

/// Refuses to go on with another first stage than the run began with.
fn same_base(path: &Path, saved: &RunState, state: &RunState) -> Result<(), TrainingError> {
    let other = |differences: String| {
        let differences = format!("there, of the run it builds on, {differences}");
        Err(TrainingError::OtherRun { path: path.to_path_buf(), differences })
    };
    if let (Some(there), Some(here)) = (&saved.base, &state.base) {
        let parse = |text: &str| Recipe::parse(&path.display().to_string(), text, &[""; 0]);
        let differences = parse(there)?.differences(&parse(here)?);
        if !differences.is_empty() {
            return other(differences.join("; "));
        }
    }
    match (&saved.base_checkpoint, &state.base_checkpoint) {
        (Some(there), Some(here)) if there != here => {
            other(format!("the checkpoint is that of {there}, not of {here}"))
        }
        _ => Ok(()),
    }
}

/// Whether the calibration fits the loss of the last stage, before there is anything to calibrate.
fn check_calibration(
    recipe: &Recipe,
    counts: &ClassCounts,
    device: &Device,
) -> Result<(), TrainingError> {
    let Some(config) = &recipe.calibration else { return Ok(()) };
    let loss = recipe.final_loss().init(counts, device)?;
    calibration::fitted(Some(config), counts, &loss, device).map(|_| ())
}

fn carry_out<T: Task<Report = ClassificationReport>>(
    (task, plan): (T, Plan),
    state: RunState,
    start: Start,
    (folder, options): (&RunFolder, &TrainOptions),
) -> Result<Outcome, TrainingError> {
    Run::new(task, plan, state).start(start, folder)?.train(folder, options)
}
