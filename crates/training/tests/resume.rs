//! A run that is stopped ends in the same weights as one that is not.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, Tensor};
use common::{recipe, write_images};
use longtail_testing::{assert_close, device, values};
use longtail_training::{
    Outcome, ProgressMode, Recipe, TrainOptions, TrainedModel, TrainingError, evaluate, predict,
    train,
};

fn options(out: &Path, is_resumed: bool, is_stopped: bool) -> TrainOptions {
    TrainOptions {
        resume: is_resumed,
        stop: Arc::new(AtomicBool::new(is_stopped)),
        progress: ProgressMode::Quiet,
        ..TrainOptions::new(out)
    }
}

fn finish(recipe: &Recipe, out: &Path, is_resumed: bool) {
    let outcome = train(recipe, &device(), &options(out, is_resumed, false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
}

/// Metrics without the one number that depends on the clock.
fn metrics(out: &Path) -> Vec<String> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let without_speed = |line: &str| line.split(",\"images_per_second\"").next().unwrap().into();
    text.lines().map(without_speed).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// With the stop flag set from the start, every call does one step: the run is stopped at every
/// position there is.
fn assert_stops_do_not_matter(overrides: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let recipe = recipe(&data, overrides);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    finish(&recipe, &whole, false);

    let mut num_stops = 0;
    loop {
        let options = options(&stopped, num_stops > 0, true);
        match train(&recipe, &device(), &options).unwrap() {
            Outcome::Finished(_) => break,
            Outcome::Interrupted { step } => assert_eq!(step, num_stops + 1),
        }
        num_stops += 1;
    }
    assert!(num_stops >= 4, "{num_stops} stops");
    assert_eq!(metrics(&whole), metrics(&stopped));
    assert_eq!(names(&whole), names(&stopped));
    for name in ["model.safetensors", "report.json"] {
        let (whole, stopped) = (whole.join(name), stopped.join(name));
        assert!(fs::read(whole).unwrap() == fs::read(stopped).unwrap(), "{name} differs");
    }
}

#[test]
fn stops_do_not_matter_to_plain_sgd() {
    assert_stops_do_not_matter(&[]);
}

#[test]
fn stops_do_not_matter_to_a_stateful_loss_with_ema_and_accumulation() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"eql-v2\" }",
        "ema.decay=0.9",
        "gradient={ accumulate = 2, clip_norm = 1.0 }",
        "sampler.kind=square-root",
    ]);
}

#[test]
fn stops_do_not_matter_to_random_masks_and_adamw() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"seql\", tail = { image-count-at-most = 5 } }",
        "optimizer={ kind = \"adamw\", lr = 0.001 }",
        "drop_last=false",
    ]);
}

#[test]
fn stops_do_not_matter_to_deferred_reweighting() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"ldam\" }",
        "model.head={ kind = \"cosine\", scale = { fixed = 1.0 } }",
        "reweighting={ from_epoch = 1, beta = 0.9 }",
        "epochs=none",
        "iterations=7",
    ]);
}

#[test]
fn weights_that_cannot_come_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let out = folder.path().join("run");
    let refusal = |overrides: &[&str]| {
        let recipe = recipe(&data, overrides);
        let error = train(&recipe, &device(), &options(&out, false, false)).unwrap_err();
        assert!(!out.exists());
        error.to_string()
    };
    let message = refusal(&["epochs=2", "reweighting.from_epoch=2"]);
    assert!(message.contains("reweighting.from_epoch") && message.contains("2: "), "{message}");
    assert!(message.contains("2 epochs"), "{message}");
    let eql_v2 = "loss={ method = \"eql-v2\" }";
    let message = refusal(&[eql_v2, "epochs=2", "reweighting.from_epoch=1"]);
    assert!(message.contains("eql-v2"), "{message}");
}

#[test]
fn seesaw_counts_survive_too() {
    assert_stops_do_not_matter(&["loss={ method = \"seesaw\" }", "epochs=1"]);
}

#[test]
fn stops_do_not_matter_to_gradients_as_a_prior_and_to_a_mean_feature() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"equalized-softmax\" }",
        "model.head={ kind = \"causal-norm\" }",
        "ema.decay=0.9",
    ]);
}

#[test]
fn stops_do_not_matter_to_drawn_rows_and_to_shared_regions() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"bags\", bounds = [10, 20], others_ratio = 1.0, background = false }",
        "model.cam_calibration={ agreement = 0.5 }",
        "gradient.accumulate=2",
    ]);
}

#[test]
fn stops_do_not_matter_to_mean_scores_and_to_calibration() {
    assert_stops_do_not_matter(&[
        "loss={ method = \"loce\", background = false }",
        "calibration={ method = \"norcal\", gamma = 0.5 }",
    ]);
}

/// A calibration is no part of training: a finished run is evaluated with and without.
#[test]
fn a_finished_run_can_be_calibrated() {
    let finished = Finished::new(&["epochs=1"]);
    let load =
        |overrides: &[&str]| TrainedModel::load(&finished.run(), overrides, &device()).unwrap();
    let plain = load(&[]);
    let calibrated = load(&["calibration.method=norcal", "calibration.gamma=2.0"]);
    let logits = Tensor::<2>::from_floats([[1.0, 0.5, -1.0]], &device());
    let scores = values(calibrated.scores(logits.clone()).unwrap());
    // 24, 12 and 5 training images.
    let weighted: Vec<f64> = [(1.0_f64, 24.0_f64), (0.5, 12.0), (-1.0, 5.0)]
        .map(|(logit, count)| logit.exp() / (count * count))
        .to_vec();
    let sum: f64 = weighted.iter().sum();
    let expected: Vec<f64> = weighted.iter().map(|value| value / sum).collect();
    assert_close("scores", &scores, &expected, 1e-5);
    assert_ne!(values(plain.scores(logits).unwrap()), scores);
    let (before, after) = (plain.evaluate().unwrap(), calibrated.evaluate().unwrap());
    assert_ne!(before.json().unwrap(), after.json().unwrap());

    let refused = recipe(
        &finished.folder.path().join("data"),
        &["loss.method=focal", "calibration={ method = \"logit-adjustment\" }"],
    );
    let out = finished.folder.path().join("refused");
    let error = train(&refused, &device(), &options(&out, false, false)).unwrap_err();
    assert!(error.to_string().contains("focal has no scores to calibrate"), "{error}");
}

struct Finished {
    folder: tempfile::TempDir,
    recipe: Recipe,
}

impl Finished {
    fn new(overrides: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        write_images(&data);
        let recipe = recipe(&data, overrides);
        finish(&recipe, &folder.path().join("run"), false);
        Self { folder, recipe }
    }

    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }
}

#[test]
fn a_finished_run_can_be_evaluated_and_used() {
    let finished = Finished::new(&["ema.decay=0.5"]);
    let run = finished.run();
    let expected = [
        "best.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "model.safetensors",
        "recipe.toml",
        "report.json",
        "report.md",
        "training_curves.svg",
    ];
    let names = names(&run);
    assert!(expected.iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");

    let report = evaluate(&run, &[""; 0], &device()).unwrap();
    let written = longtail_eval::ClassificationReport::read(&run.join("report.json")).unwrap();
    assert_eq!(report.confusion, written.confusion);
    assert_eq!((report.num_examples, report.name.as_str()), (18, "cross-entropy"));

    let trained = TrainedModel::load(&run.join("best.safetensors"), &[""; 0], &device()).unwrap();
    let image = finished.folder.path().join("data/test/red/00.png");
    let predictions = predict(&trained, std::slice::from_ref(&image), 2).unwrap();
    let classes = &predictions[0].classes;
    assert_eq!((predictions.len(), classes.len()), (1, 2));
    assert!(classes[0].score >= classes[1].score && classes[0].score <= 1.0);
    let message = predict(&trained, &["none.png".into()], 1).unwrap_err().to_string();
    assert!(message.contains("none.png"), "{message}");

    let reread = Recipe::load(&run.join("recipe.toml"), &[""; 0]).unwrap();
    assert_eq!(reread, finished.recipe);
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let finished = Finished::new(&["epochs=1"]);
    let read = |name| fs::read(finished.run().join(name)).unwrap();
    let before = ["model.safetensors", "metrics.jsonl", "report.json"].map(read);
    finish(&finished.recipe, &finished.run(), true);
    assert!(before == ["model.safetensors", "metrics.jsonl", "report.json"].map(read));
}

#[test]
fn damage_and_other_runs_are_refused() {
    let finished = Finished::new(&["epochs=1"]);
    let (run, device) = (finished.run(), device());
    let message = |result: Result<Outcome, TrainingError>| result.unwrap_err().to_string();

    let again = train(&finished.recipe, &device, &options(&run, false, false));
    assert!(message(again).contains("already holds a run"));

    let mut other = finished.recipe.clone();
    other.model.backbone = longtail_models::BackboneConfig::CifarResNet32;
    let resumed = message(train(&other, &device, &options(&run, true, false)));
    for part in ["last.safetensors", "cifar-resnet20", "cifar-resnet32", "model.backbone"] {
        assert!(resumed.contains(part), "{resumed}");
    }

    let last = run.join("last.safetensors");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let truncated = message(train(&finished.recipe, &device, &options(&run, true, false)));
    assert!(truncated.contains("damaged"), "{truncated}");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x10;
    fs::write(&last, flipped).unwrap();
    let flipped = message(train(&finished.recipe, &device, &options(&run, true, false)));
    assert!(flipped.contains("checksum"), "{flipped}");

    let weights = run.join("model.safetensors");
    let error = TrainedModel::load(&weights, &[""; 0], &device).unwrap_err().to_string();
    assert!(error.contains("weights alone"), "{error}");
}

#[test]
fn a_changed_data_set_is_refused() {
    let finished = Finished::new(&["epochs=1"]);
    let data = finished.folder.path().join("data");
    fs::remove_file(data.join("train/red/00.png")).unwrap();
    let error = train(&finished.recipe, &device(), &options(&finished.run(), true, false));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("class `red` has 5 training images, not 4"), "{message}");
}

#[test]
fn bad_data_leaves_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let out = folder.path().join("run");
    fs::write(data.join("train/red/00.png"), b"\x89PNG\r\n\x1a\nand no more").unwrap();
    let error = train(&recipe(&data, &[]), &device(), &options(&out, false, false)).unwrap_err();
    assert!(error.to_string().contains("00.png"), "{error}");
    assert!(!out.exists());

    let missing = folder.path().join("nowhere");
    let error = train(&recipe(&missing, &[]), &device(), &options(&out, false, false));
    assert!(error.unwrap_err().to_string().contains("nowhere"));
    assert!(!out.exists());
}

#[test]
fn a_loss_that_is_not_finite_is_reported_with_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let recipe = recipe(&data, &["optimizer={ kind = \"sgd\", lr = 1e30 }", "schedule={}"]);
    let out = folder.path().join("run");
    let result = train(&recipe, &device(), &options(&out, false, false));
    match result.unwrap_err() {
        TrainingError::LossNotFinite { step, lr, .. } => assert!(step <= 4 && lr > 1e29),
        other => panic!("{other}"),
    }
}

#[test]
fn losses_learn_the_colours() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let recipe = recipe(&data, &["epochs=12", "loss={ method = \"balanced-softmax\" }"]);
    let out = folder.path().join("run");
    let device: Device = device();
    match train(&recipe, &device, &options(&out, false, false)).unwrap() {
        Outcome::Finished(report) => {
            assert!(report.micro_accuracy >= 0.9, "{}", report.micro_accuracy);
        }
        other => panic!("{other:?}"),
    }
}
