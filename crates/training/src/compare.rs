//! Several recipes over several seeds, in one table.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use longtail_eval::{ClassificationReport, Comparison, DetectionComparison, DetectionReport};

use crate::any_recipe::AnyRecipe;
use crate::detection::{DetectionRecipe, train_detector_from};
use crate::error::TrainingError;
use crate::first_stages::FirstStages;
use crate::recipe::Recipe;
use crate::recipe_file::{RecipeForm, read_text};
use crate::run_folder::same_run;
use crate::stage_two::{ClassifierRecipe, train_classifier};
use crate::train::{Outcome, TrainOptions, train_from};

/// What a comparison found.
#[derive(Clone, Debug)]
pub enum AnyComparison {
    /// Of classifiers.
    Classification(Comparison),
    /// Of detectors.
    Detection {
        /// Boxes against boxes.
        boxes: DetectionComparison,
        /// Masks against masks; `None` unless every model has them.
        masks: Option<DetectionComparison>,
    },
}

impl AnyComparison {
    /// The tables for the terminal.
    pub fn table(&self) -> String {
        match self {
            Self::Classification(comparison) => comparison.table(),
            Self::Detection { boxes, masks: None } => boxes.table(),
            Self::Detection { boxes, masks: Some(masks) } => {
                format!("{}\n{}", boxes.table(), masks.table())
            }
        }
    }

    /// Writes tables, numbers and plot into an existing folder; those of masks into `masks` within.
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, title: &str) -> Result<(), TrainingError> {
        match self {
            Self::Classification(comparison) => comparison.write(folder, title)?,
            Self::Detection { boxes, masks } => {
                boxes.write(folder, title)?;
                if let Some(masks) = masks {
                    let path = folder.join("masks");
                    std::fs::create_dir_all(&path)
                        .map_err(|source| TrainingError::Write { path: path.clone(), source })?;
                    masks.write(&path, title)?;
                }
            }
        }
        Ok(())
    }
}

/// Trains each recipe once with each seed, one run after the other, and puts the results side by
/// side; the first recipe is the baseline, and runs of one seed are a pair.
///
/// The seed replaces that of the recipes. A run goes to the folder `NAME-seedN` in `options.out`;
/// one that is finished there is read, not trained again, and one that was interrupted goes on, so
/// that an interrupted comparison is continued by the same call. A recipe without a `name` of its
/// own is reported under the name given here.
///
/// Recipes that agree in their first stage share it: it is trained once for each seed.
/// # Errors
/// Without recipes or seeds; if recipes share a name or differ in task, a folder holds a run of
/// another recipe, the results cannot be compared, or as for [`train`](crate::train()) and
/// [`train_detector`](crate::train_detector).
pub fn compare(
    recipes: &[(String, AnyRecipe)],
    seeds: &[u64],
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome<AnyComparison>, TrainingError> {
    let refuse = |problem: String| Err(TrainingError::Comparison { problem });
    for (index, (name, _)) in recipes.iter().enumerate() {
        if recipes[..index].iter().any(|(other, _)| other == name) {
            return refuse(format!("two recipes are called {name}"));
        }
    }
    if seeds.is_empty() {
        return refuse("no seed is given".into());
    }
    let (mut classifiers, mut detectors) = (Vec::new(), Vec::new());
    for (name, recipe) in recipes {
        match recipe {
            AnyRecipe::Classification(recipe) => {
                classifiers.push((name, ImageRecipe::Whole(recipe)));
            }
            AnyRecipe::Classifier(recipe) => classifiers.push((name, ImageRecipe::Second(recipe))),
            AnyRecipe::Detection(recipe) => detectors.push((name, recipe)),
        }
    }
    match (classifiers.as_slice(), detectors.as_slice()) {
        ([], []) => refuse("no recipe is given".into()),
        (recipes, []) => compare_classifiers(recipes, seeds, device, options),
        ([], recipes) => compare_detectors(recipes, seeds, device, options),
        ([(classifier, _), ..], [(detector, _), ..]) => {
            refuse(format!("{classifier} trains a classifier, {detector} a detector"))
        }
    }
}

/// A recipe that gives a classifier.
enum ImageRecipe<'a> {
    /// In one stage or two.
    Whole(&'a Recipe),
    /// The second stage on a finished run.
    Second(&'a ClassifierRecipe),
}

fn compare_classifiers(
    recipes: &[(&String, ImageRecipe)],
    seeds: &[u64],
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome<AnyComparison>, TrainingError> {
    let mut reports = Vec::new();
    let mut firsts = FirstStages::default();
    for (seed, (name, recipe)) in runs(seeds, recipes) {
        let options = run_options(options, name, seed);
        let own_name = |own: &Option<String>| own.clone().or_else(|| Some(name.to_string()));
        let outcome = match recipe {
            ImageRecipe::Whole(recipe) => {
                let recipe = Recipe { seed, name: own_name(&recipe.name), ..(*recipe).clone() };
                let (first, has_two) = (recipe.first_stage(), recipe.stage_two.is_some());
                let place = firsts.find(&first);
                let outcome = match finished(&options.out, &recipe)? {
                    Some(path) => read_report(&path)?,
                    None => train_from(&recipe, device, &options, place.as_deref())?,
                };
                firsts.add(first, &options.out, has_two);
                outcome
            }
            ImageRecipe::Second(recipe) => {
                let name = own_name(&recipe.name);
                let recipe = ClassifierRecipe { seed, name, ..(*recipe).clone() };
                match finished(&options.out, &recipe)? {
                    Some(path) => read_report(&path)?,
                    None => train_classifier(&recipe, device, &options)?,
                }
            }
        };
        match outcome {
            Outcome::Finished(report) => reports.push(*report),
            Outcome::Interrupted { step } => return Ok(Outcome::Interrupted { step }),
        }
        // What cannot be compared stops here, and not after the last run.
        Comparison::new(&reports, NUM_AT_ENDS)?;
    }
    let comparison = Comparison::new(&reports, NUM_AT_ENDS)?;
    Ok(Outcome::Finished(Box::new(AnyComparison::Classification(comparison))))
}

fn compare_detectors(
    recipes: &[(&String, &DetectionRecipe)],
    seeds: &[u64],
    device: &Device,
    options: &TrainOptions,
) -> Result<Outcome<AnyComparison>, TrainingError> {
    let (mut boxes, mut masks) = (Vec::new(), Vec::new());
    let mut firsts = FirstStages::default();
    for (seed, (name, recipe)) in runs(seeds, recipes) {
        let own_name = recipe.name.clone().or_else(|| Some(name.to_string()));
        let recipe = DetectionRecipe { seed, name: own_name, ..(*recipe).clone() };
        let options = run_options(options, name, seed);
        let (first, has_two) = (recipe.first_stage(), recipe.stage_two.is_some());
        if let Some(path) = finished(&options.out, &recipe)? {
            boxes.push(DetectionReport::read(&path)?);
            let of_masks = options.out.join("masks").join("report.json");
            if of_masks.exists() {
                masks.push(DetectionReport::read(&of_masks)?);
            }
        } else {
            let place = firsts.find(&first);
            match train_detector_from(&recipe, device, &options, place.as_deref())? {
                Outcome::Finished(result) => {
                    boxes.push(result.boxes);
                    masks.extend(result.masks);
                }
                Outcome::Interrupted { step } => return Ok(Outcome::Interrupted { step }),
            }
        }
        firsts.add(first, &options.out, has_two);
    }
    let all_have_masks = masks.len() == boxes.len();
    let comparison = AnyComparison::Detection {
        boxes: DetectionComparison::new(&boxes)?,
        masks: all_have_masks.then(|| DetectionComparison::new(&masks)).transpose()?,
    };
    Ok(Outcome::Finished(Box::new(comparison)))
}

fn read_report(path: &Path) -> Result<Outcome, TrainingError> {
    Ok(Outcome::Finished(Box::new(ClassificationReport::read(path)?)))
}

/// The accuracies of so many of the most frequent and of the rarest classes are columns of their
/// own, as in the CIFAR tables of the literature.
const NUM_AT_ENDS: usize = 3;

/// Every recipe with a seed before the next seed, so that an unfinished comparison has whole pairs.
fn runs<'a, T>(seeds: &'a [u64], recipes: &'a [T]) -> impl Iterator<Item = (u64, &'a T)> {
    seeds.iter().flat_map(move |seed| recipes.iter().map(move |recipe| (*seed, recipe)))
}

fn run_options(options: &TrainOptions, name: &str, seed: u64) -> TrainOptions {
    let out = options.out.join(format!("{name}-seed{seed}"));
    TrainOptions { out, resume: true, ..options.clone() }
}

/// The report of a run that is finished.
fn finished<R: RecipeForm>(folder: &Path, recipe: &R) -> Result<Option<PathBuf>, TrainingError> {
    let report = folder.join("report.json");
    if !report.exists() {
        return Ok(None);
    }
    let path = folder.join("recipe.toml");
    same_run(&path, &read_text(&path)?, recipe)?;
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::ProgressMode;

    const RECIPE: &str = r#"
        batch_size = 16
        epochs = 1
        dataset.source = { kind = "synthetic", image_size = 32, head_count = 12, imbalance = 4.0, test_count = 2 }
        model.backbone = "cifar-resnet20"
        loss.method = "cross-entropy"
        optimizer = { kind = "sgd", lr = 0.05 }
    "#;

    fn recipe(overrides: &[&str]) -> AnyRecipe {
        AnyRecipe::parse("test", RECIPE, overrides).unwrap()
    }

    #[test]
    fn an_interrupted_comparison_goes_on_where_it_stopped() {
        let device = longtail_testing::device();
        let folder = tempfile::tempdir().unwrap();
        let mut options = TrainOptions::new(folder.path());
        options.progress = ProgressMode::Quiet;
        let recipes = [
            ("plain".to_string(), recipe(&[])),
            ("balanced".to_string(), recipe(&["loss.method=\"balanced-softmax\""])),
        ];
        options.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let outcome = compare(&recipes, &[1, 2], &device, &options).unwrap();
        assert!(matches!(outcome, Outcome::Interrupted { .. }));
        options.stop.store(false, std::sync::atomic::Ordering::Relaxed);
        let Outcome::Finished(first) = compare(&recipes, &[1, 2], &device, &options).unwrap()
        else {
            panic!("interrupted")
        };
        for name in ["plain-seed1", "plain-seed2", "balanced-seed1", "balanced-seed2"] {
            assert!(folder.path().join(name).join("report.json").exists(), "{name}");
        }
        // Read, not trained: the weights may be missing.
        std::fs::remove_file(folder.path().join("plain-seed1/last.safetensors")).unwrap();
        let Outcome::Finished(second) = compare(&recipes, &[1, 2], &device, &options).unwrap()
        else {
            panic!("interrupted")
        };
        assert_eq!(first.table(), second.table());
        assert!(first.table().contains("balanced (2 runs)"), "{}", first.table());
        let other = [("plain".to_string(), recipe(&["optimizer.lr=0.1"]))];
        let error = compare(&other, &[1], &device, &options).unwrap_err().to_string();
        assert!(error.contains("lr"), "{error}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused_before_training() {
        let device = longtail_testing::device();
        let options = TrainOptions::new("/nonexistent");
        let message = |recipes: &[(String, AnyRecipe)], seeds: &[u64]| {
            compare(recipes, seeds, &device, &options).unwrap_err().to_string()
        };
        assert!(message(&[], &[0]).contains("no recipe"));
        let plain = || ("plain".to_string(), recipe(&[]));
        assert!(message(&[plain()], &[]).contains("no seed"));
        assert!(message(&[plain(), plain()], &[0]).contains("two recipes are called plain"));
        let detection = r#"
            task = "detection"
            batch_size = 1
            iterations = 1
            dataset.source.kind = "synthetic"
            model.kind = "retinanet"
            loss.method = "focal"
            optimizer = { kind = "sgd", lr = 0.05 }
        "#;
        let detector = AnyRecipe::parse("test", detection, &[""; 0]).unwrap();
        let mixed = message(&[plain(), ("boxes".to_string(), detector)], &[0]);
        assert!(mixed.contains("plain trains a classifier, boxes a detector"), "{mixed}");
    }
}
