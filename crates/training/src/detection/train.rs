//! The training of a detection recipe, in one stage or two.

use std::fmt::Write as _;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use longtail_models::{Detector, FreezeScope};
use longtail_types::ClassCounts;

use super::dataset::DetectionDatasets;
use super::recipe::DetectionRecipe;
use super::result::DetectionResult;
use super::reweighter_task::ReweighterTask;
use super::settings::{ClassifierStart, StageTwo};
use super::task::DetectionTask;
use crate::checkpoint::{self, RunState};
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::recipe_file::recipe_differences;
use crate::replica_group::ReplicaDevices;
use crate::run::Run;
use crate::run_folder::{RunFolder, Start};
use crate::tensors::{NamedTensors, collect, restore};
use crate::threads::use_threads;
use crate::train::{Outcome, TrainOptions, run_in};

/// Trains a detector and evaluates the result.
///
/// The run folder holds what [`train`](crate::train()) writes; the best checkpoint is the one with
/// the highest AP. With a second stage, the first is a run of its own in `stage_one` within the
/// folder, with its own report.
///
/// What a lenient run left out of its annotations is listed in `left_out.txt`, a line for each.
/// # Errors
/// As [`train`](crate::train()), and if the weights to begin with do not fit.
pub fn train_detector(
    recipe: &DetectionRecipe,
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome<DetectionResult>, TrainingError> {
    train_detector_from(recipe, device, options, None)
}

/// As [`train_detector`]; the first stage of two may be a run that is finished already.
pub(crate) fn train_detector_from(
    recipe: &DetectionRecipe,
    device: &Device,
    options: &TrainOptions,
    finished: Option<&Path>,
) -> Result<Outcome<DetectionResult>, TrainingError> {
    recipe.check()?;
    use_threads(recipe.run.threads)?;
    let devices = ReplicaDevices::new(device, &options.replicas)?;
    let data = recipe.dataset.load()?;
    let counts = data.train.class_counts()?;
    let setting = Setting { data, counts, device: device.clone().autodiff(), devices };
    let outcome = match (recipe.second_stage(), &recipe.stage_two) {
        (Some(second), Some(stage)) => {
            setting.two_stages((recipe, &second), stage, options, finished)
        }
        _ => run_in(&options.out, recipe, setting.first_run(recipe)?, options),
    }?;
    setting.list_left_out(&options.out)?;
    Ok(outcome)
}

/// What both stages share.
pub(crate) struct Setting {
    pub(crate) data: DetectionDatasets,
    pub(crate) counts: ClassCounts,
    /// The first one, with autodiff.
    pub(crate) device: Device,
    pub(crate) devices: ReplicaDevices,
}

impl Setting {
    /// A stage of the run of `recipe` at its start.
    fn run(
        &self,
        recipe: &DetectionRecipe,
        stage: &DetectionRecipe,
        detector: Detector,
    ) -> Result<Run<DetectionTask>, TrainingError> {
        let classes = self.data.train.class_map().clone();
        let state = RunState::new(recipe.to_toml(), self.counts.clone(), classes);
        let (data, recipes) = (self.data.clone(), (recipe, stage));
        let (task, plan) =
            DetectionTask::new(recipes, detector, data, &self.counts, &self.devices)?;
        Ok(Run::new(task, plan, state))
    }

    /// Writes what was left out of the annotations, if anything was.
    fn list_left_out(&self, folder: &Path) -> Result<(), TrainingError> {
        let mut text = String::new();
        for (name, set) in [("training", &self.data.train), ("validation", &self.data.val)] {
            for problem in set.problems().errors() {
                // A string takes everything.
                let _ = writeln!(text, "{name}: {problem}");
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        write_whole(&folder.join("left_out.txt"), |file| file.write_all(text.as_bytes()))
    }

    /// A recipe of one stage, with the weights it begins with.
    pub(crate) fn first_run(
        &self,
        recipe: &DetectionRecipe,
    ) -> Result<Run<DetectionTask>, TrainingError> {
        let mut detector = self.fresh_detector(recipe)?;
        if let Some(weights) = &recipe.init {
            detector.load_weights(&weights.path, weights.scope)?;
        }
        self.run(recipe, recipe, detector)
    }

    fn fresh_detector(&self, recipe: &DetectionRecipe) -> Result<Detector, TrainingError> {
        let loss = recipe.loss.clone().with_default_seed(recipe.seed);
        let loss = loss.init(&self.counts, &self.device)?;
        let mut detector = recipe.model.init(loss, recipe.seed, &self.device)?;
        detector.calibrate(recipe.calibration.as_ref(), &self.counts)?;
        Ok(detector)
    }

    /// The first stage in its folder within that of the run; the step at which it was interrupted.
    fn first_of_two(
        &self,
        recipe: &DetectionRecipe,
        folder: &RunFolder,
        options: &TrainOptions,
    ) -> Result<Option<u64>, TrainingError> {
        let first = recipe.first_stage();
        // The folder around it has said whether there may be something to go on with.
        let options = TrainOptions { out: folder.stage_one(), resume: true, ..options.clone() };
        let result =
            self.first_run(&first).and_then(|run| run_in(&options.out, &first, run, &options));
        if result.is_err() && !options.out.exists() {
            folder.discard();
        }
        Ok(match result? {
            Outcome::Interrupted { step } => Some(step),
            Outcome::Finished(_) => None,
        })
    }

    /// `finished` is the folder of a run of the same first stage.
    fn two_stages(
        &self,
        (recipe, second): (&DetectionRecipe, &DetectionRecipe),
        stage: &StageTwo,
        options: &TrainOptions,
        finished: Option<&Path>,
    ) -> Result<Outcome<DetectionResult>, TrainingError> {
        // The folder is taken before the first stage begins.
        let (folder, start) = RunFolder::open(&options.out, recipe, options.resume)?;
        let mut detector = self.fresh_detector(second)?;
        if matches!(start, Start::Fresh) {
            let place = match finished {
                Some(finished) => finished.to_path_buf(),
                None => {
                    if let Some(step) = self.first_of_two(recipe, &folder, options)? {
                        return Ok(Outcome::Interrupted { step });
                    }
                    folder.stage_one()
                }
            };
            detector = after_first(detector, stage, &recipe.first_stage(), &place)?;
        }
        let detector = detector.freeze_scope(FreezeScope::AllButClassifier);
        let Some(config) = stage.meta_reweighter else {
            return self
                .run(recipe, second, detector)?
                .start(start, &folder)?
                .train(&folder, options);
        };
        if self.devices.devices.len() > 1 {
            let problem = "`stage_two.meta_reweighter` takes one device".into();
            return Err(TrainingError::Replicas { problem });
        }
        let (data, counts) = (self.data.clone(), &self.counts);
        let classes = self.data.train.class_map().clone();
        let (task, plan) =
            ReweighterTask::new((recipe, second), config, detector, data, counts, &self.device)?;
        let state = RunState::new(recipe.to_toml(), counts.clone(), classes);
        Run::new(task, plan, state).start(start, &folder)?.train(&folder, options)
    }
}

/// The detector of the second stage with the weights that the first stage, `first`, ended with in
/// `folder`.
fn after_first(
    detector: Detector,
    stage: &StageTwo,
    first: &DetectionRecipe,
    folder: &Path,
) -> Result<Detector, TrainingError> {
    let path = folder.join("last.safetensors");
    let (state, tensors) = checkpoint::load(&path)?;
    // A run of one stage may have a memory of features that no first stage has.
    let found = DetectionRecipe::parse(&path.display().to_string(), &state.recipe, &[""; 0])?;
    let differences = recipe_differences(&found.first_stage(), first);
    if !differences.is_empty() {
        let differences = format!("there, {}", differences.join("; "));
        return Err(TrainingError::OtherRun { path, differences });
    }
    let prefix = if tensors.keys().any(|name| name.starts_with("ema.")) { "ema" } else { "model" };
    let mut start = NamedTensors::new();
    collect("model", &detector, &mut start)?;
    for (name, value) in &mut start {
        let learned =
            name.strip_prefix("model").and_then(|own| tensors.get(&format!("{prefix}{own}")));
        match learned {
            _ if is_classifier(name) && stage.classifier == ClassifierStart::Fresh => {}
            Some(learned) if is_classifier(name) => *value = learned.clone(),
            Some(learned) => *value = with_rows_of(value.clone(), learned),
            None => {
                let problem = format!("`{name}` of the second stage is missing");
                return Err(TrainingError::Checkpoint { path, problem });
            }
        }
    }
    restore("model", detector, &mut start).map_err(|problem| {
        let problem = format!(
            "{problem}; where the losses of the stages need other columns, set \
             `stage_two.classifier = \"fresh\"`"
        );
        TrainingError::Checkpoint { path, problem }
    })
}

/// `learned`, with as many rows as `own` has: boxes of each class have one group more where the loss
/// has a background column. It lies behind the classes, and nothing reads it.
fn with_rows_of(own: TensorData, learned: &TensorData) -> TensorData {
    let (from, to) = (learned.shape().as_slice(), own.shape().as_slice());
    let is_other = from.first() != to.first() && from.get(1..) == to.get(1..);
    if !is_other || own.dtype() != learned.dtype() {
        return learned.clone();
    }
    let (shape, dtype) = (to.to_vec(), own.dtype());
    let mut bytes = own.as_bytes().to_vec();
    let shared = bytes.len().min(learned.as_bytes().len());
    bytes[..shared].copy_from_slice(&learned.as_bytes()[..shared]);
    TensorData::from_bytes_vec(bytes, shape, dtype)
}

/// The layer of the class logits, by its name in torchvision: of the box heads, or of RetinaNet. The
/// proposals' `cls_logits` are no class logits.
fn is_classifier(name: &str) -> bool {
    let is_part = |wanted| name.split('.').any(|part| part == wanted);
    is_part("cls_score") || (is_part("cls_logits") && !is_part("rpn"))
}

#[cfg(test)]
mod tests {
    use longtail_testing::device;

    use super::*;

    const RECIPE: &str = include_str!("../../tests/tiny_detector.toml");

    fn parse(overrides: &[&str]) -> DetectionRecipe {
        DetectionRecipe::parse("tiny", RECIPE, overrides).unwrap()
    }

    fn fresh(recipe: &DetectionRecipe) -> (Setting, Detector) {
        let data = recipe.dataset.load().unwrap();
        let counts = data.train.class_counts().unwrap();
        let device = device().autodiff();
        let devices = ReplicaDevices::new(&device, &[]).unwrap();
        let setting = Setting { data, counts, device, devices };
        let detector = setting.fresh_detector(recipe).unwrap();
        (setting, detector)
    }

    #[test]
    fn a_second_stage_takes_every_weight_of_the_right_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = parse(&[]);
        let (setting, detector) = fresh(&first);
        let classes = setting.data.train.class_map().clone();
        let state = RunState::new(first.to_toml(), setting.counts.clone(), classes);
        let mut tensors = NamedTensors::new();
        collect("model", &detector, &mut tensors).unwrap();
        let stage = parse(&["stage_two={ iterations = 2 }"]).stage_two.unwrap();
        let path = folder.path().join("last.safetensors");
        checkpoint::save(&path, &state, &tensors).unwrap();
        let second =
            |first| after_first(fresh(&parse(&["seed=6"])).1, &stage, first, folder.path());
        let mut taken = NamedTensors::new();
        collect("model", &second(&first).unwrap(), &mut taken).unwrap();
        assert!(taken == tensors);

        let longer = parse(&["iterations=7"]);
        let message = second(&longer).unwrap_err().to_string();
        assert!(message.contains("iterations is 6, not 7"), "{message}");

        let name = tensors.keys().find(|name| name.contains("box_head")).unwrap().clone();
        tensors.remove(&name);
        checkpoint::save(&path, &state, &tensors).unwrap();
        let message = second(&first).unwrap_err().to_string();
        assert!(message.contains(&name) && message.contains("missing"), "{message}");
    }
}
