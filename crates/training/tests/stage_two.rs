//! Second stages of classification: stops, files, refusals, what they learn.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{recipe, write_images};
use longtail_eval::ClassificationReport;
use longtail_testing::device;
use longtail_training::{
    AnyComparison, AnyRecipe, ClassifierRecipe, Outcome, ProgressMode, Recipe, TrainOptions,
    TrainedModel, compare, evaluate, train, train_classifier, train_classifier_on,
};

fn options(out: &Path, is_resumed: bool, is_stopped: bool) -> TrainOptions {
    TrainOptions {
        resume: is_resumed,
        stop: Arc::new(AtomicBool::new(is_stopped)),
        progress: ProgressMode::Quiet,
        ..TrainOptions::new(out)
    }
}

fn finished(outcome: Outcome) -> ClassificationReport {
    match outcome {
        Outcome::Finished(report) => *report,
        other => panic!("{other:?}"),
    }
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

const SHORT: &str = "training = { batch_size = 8, iterations = 6, \
                     optimizer = { kind = \"sgd\", lr = 0.2, weight_decay = 1e-3 } }";

/// With the stop flag set from the start, every call does one step: the run is stopped at every
/// position of both stages.
fn assert_stops_do_not_matter(stage: &str, others: &[&str], min_stops: u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let stage = format!("stage_two={{ {stage} }}");
    let overrides: Vec<&str> = [&["epochs=1", stage.as_str()], others].concat();
    let recipe = recipe(&data, &overrides);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    finished(train(&recipe, &device(), &options(&whole, false, false)).unwrap());
    let mut num_stops = 0;
    while let Outcome::Interrupted { .. } =
        train(&recipe, &device(), &options(&stopped, num_stops > 0, true)).unwrap()
    {
        num_stops += 1;
    }
    assert!(num_stops >= min_stops, "{num_stops} stops");
    assert_eq!(metrics(&whole), metrics(&stopped));
    assert_eq!(names(&whole), names(&stopped));
    for name in ["model.safetensors", "report.json", "stage_one/model.safetensors"] {
        let (whole, stopped) = (whole.join(name), stopped.join(name));
        assert!(fs::read(whole).unwrap() == fs::read(stopped).unwrap(), "{name} differs");
    }
    let written = ClassificationReport::read(&whole.join("report.json")).unwrap();
    let report = evaluate(&whole, &[""; 0], &device()).unwrap();
    assert_eq!((report.confusion, report.name), (written.confusion, written.name));
}

#[test]
fn stops_do_not_matter_to_a_stateful_loss_on_cached_features() {
    let stage = format!("method = \"classifier\", loss.method = \"eql-v2\", {SHORT}");
    assert_stops_do_not_matter(&stage, &["ema.decay=0.5"], 8);
}

#[test]
fn stops_do_not_matter_to_live_features_with_drifting_batch_norms() {
    let training = SHORT.replace(
        "iterations = 6",
        "iterations = 6, features.kind = \"live\", batch_norm = \"train\"",
    );
    assert_stops_do_not_matter(&format!("method = \"crt\", {training}"), &[], 8);
}

#[test]
fn stops_do_not_matter_to_learned_scales() {
    assert_stops_do_not_matter(&format!("method = \"lws\", scale_bias = false, {SHORT}"), &[], 8);
}

#[test]
fn stops_do_not_matter_to_meta_sampler() {
    let stage = format!("method = \"meta-sampler\", meta_set = \"train\", {SHORT}");
    assert_stops_do_not_matter(&stage, &[], 8);
}

#[test]
fn stops_do_not_matter_to_meta_sampler_on_live_images_and_a_validation_part() {
    let training = SHORT
        .replace("iterations = 6", "iterations = 6, features.kind = \"live\"")
        .replace("lr = 0.2", "lr = 0.2, nesterov = true");
    let stage = format!("method = \"meta-sampler\", meta_set = \"validation\", {training}");
    assert_stops_do_not_matter(&stage, &["dataset.validation={ kind = \"held-out\" }"], 7);
}

#[test]
fn stops_do_not_matter_to_stages_without_training() {
    let validation = "dataset.validation={ kind = \"held-out\", share = 0.25 }";
    assert_stops_do_not_matter("method = \"tau-norm\"", &[validation], 2);
    assert_stops_do_not_matter("method = \"ncm\"", &[], 2);
}

/// A trained run, with its folder.
struct Base {
    folder: tempfile::TempDir,
    trained: TrainedModel,
}

impl Base {
    fn new(overrides: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        write_images(&data);
        let base = folder.path().join("base-3");
        let recipe = recipe(&data, overrides);
        finished(train(&recipe, &device(), &options(&base, false, false)).unwrap());
        let trained = TrainedModel::load(&base, &[""; 0], &device()).unwrap();
        Self { folder, trained }
    }

    fn recipe(&self, stage: &str, overrides: &[&str]) -> ClassifierRecipe {
        let base = self.folder.path().join("base-{seed}");
        let base = base.display();
        let text = format!(
            "task = \"classifier\"\nseed = 3\nbase = \"{base}\"\nstage_two = {{ {stage} }}"
        );
        ClassifierRecipe::parse("test", &text, overrides).unwrap()
    }

    fn run(&self, name: &str, stage: &str) -> ClassificationReport {
        let out = self.folder.path().join(name);
        let recipe = self.recipe(stage, &[]);
        finished(train_classifier_on(&self.trained, &recipe, &options(&out, false, false)).unwrap())
    }

    fn weights(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let path = self.folder.path().join(name).join("model.safetensors");
        let bytes = fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
    }
}

#[test]
fn every_method_works_on_one_finished_run() {
    let base = Base::new(&["epochs=6"]);
    let training = "training = { batch_size = 8, iterations = 60, \
                    optimizer = { kind = \"sgd\", lr = 0.5 } }";
    let before = base.weights("base-3");
    for (stage, reported, changed) in [
        ("method = \"crt\", training".into(), "crt", ["linear.bias", "linear.weight"].as_slice()),
        (
            "method = \"classifier\", loss.method = \"balanced-softmax\", training".into(),
            "decoupled balanced-softmax",
            &["linear.bias", "linear.weight"],
        ),
        ("method = \"lws\", training".into(), "lws", &[]),
        (
            "method = \"meta-sampler\", meta_set = \"train\", training".to_string(),
            "meta-sampler",
            &["linear.bias", "linear.weight"],
        ),
        ("method = \"ncm\"".into(), "ncm", &[]),
        ("method = \"tau-norm\", tau.fixed = 1.0".into(), "tau-norm", &[]),
    ] {
        let stage = stage.replace("training", training);
        let report = base.run(reported, &stage);
        assert_eq!(report.name, reported);
        assert!(report.micro_accuracy > 0.6, "{reported}: {}", report.micro_accuracy);
        // Everything that both have is the same but the classifier.
        let after = base.weights(reported);
        let both = before.iter().filter(|(name, _)| after.contains_key(*name));
        let others = both.filter(|(name, value)| after[*name] != **value).map(|(name, _)| name);
        assert_eq!(others.collect::<Vec<_>>(), changed, "{reported}");
        // The folder can be used by itself.
        let out = base.folder.path().join(reported);
        let again = evaluate(&out, &[""; 0], &device()).unwrap();
        assert_eq!((again.confusion, again.name), (report.confusion, report.name));
        for name in ["recipe.toml", "metrics.jsonl", "report.md", "last.safetensors"] {
            assert!(out.join(name).exists(), "{reported}: {name}");
        }
    }
    // A second stage on a second stage begins with its result.
    let out = base.folder.path().join("again");
    let mut again = base.recipe("method = \"tau-norm\", tau.fixed = 0.0", &[]);
    again.base = base.folder.path().join("crt");
    finished(train_classifier(&again, &device(), &options(&out, false, false)).unwrap());
    assert_eq!(base.weights("again")["linear.weight"], base.weights("crt")["linear.weight"]);
}

#[test]
fn the_exponent_is_chosen_on_validation_images_alone() {
    let base = Base::new(&["epochs=4", "dataset.validation={ kind = \"held-out\", share = 0.3 }"]);
    let report = base.run("tau", "method = \"tau-norm\"");
    let out = base.folder.path().join("tau");
    let choice: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.join("tau.json")).unwrap()).unwrap();
    assert_eq!(
        (choice["on"].as_str(), choice["num_images"].as_u64()),
        (Some("validation"), Some(13))
    );
    let tried = choice["tried"].as_array().unwrap();
    assert_eq!((tried.len(), tried[1][0].as_f64()), (21, Some(0.1)));
    let accuracy = |i: usize| tried[i][1].as_f64().unwrap();
    let best = (0..21).fold(0, |best, i| if accuracy(i) > accuracy(best) { i } else { best });
    assert_eq!(tried[best][0], choice["tau"], "the smallest of the best");
    // What was chosen is what the checkpoint gives.
    let tau = choice["tau"].as_f64().unwrap();
    let fixed = base.run("fixed", &format!("method = \"tau-norm\", tau.fixed = {tau:?}"));
    assert_eq!(fixed.confusion, report.confusion);
    assert_eq!(evaluate(&out, &[""; 0], &device()).unwrap().confusion, report.confusion);
    // And what was tried can be tried again.
    let model = TrainedModel::load(&out, &[""; 0], &device()).unwrap();
    let again = model.evaluate_validation().unwrap();
    assert_eq!((again.num_examples, again.macro_accuracy), (13, accuracy(best)));
    assert!(again.protocol.test_set.starts_with("30 % held out of "), "{:?}", again.protocol);
    let refused = |overrides: &[&str]| {
        let model = TrainedModel::load(&out, overrides, &device()).unwrap();
        model.evaluate_validation().unwrap_err().to_string()
    };
    let others = refused(&["dataset.source={ kind = \"synthetic\" }"]);
    assert!(others.contains("3 classes and 10"), "{others}");
}

#[test]
fn a_run_without_validation_images_is_not_evaluated_on_them() {
    let message = Base::new(&["epochs=1"]).trained.evaluate_validation().unwrap_err().to_string();
    assert!(message.contains("dataset.validation"), "{message}");
}

#[test]
fn wrong_second_stages_are_refused_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let message = |stage: &str, others: &[&str]| {
        let text = "batch_size = 8\nepochs = 1\ndataset.source = { kind = \"class-folders\", root = \"x\" }\n\
                    model.backbone = \"cifar-resnet20\"\noptimizer = { kind = \"sgd\", lr = 0.1 }";
        let stage = format!("stage_two={{ {stage} }}");
        let overrides: Vec<&str> = [&[stage.as_str()], others].concat();
        Recipe::parse("test", text, &overrides).unwrap_err().to_string()
    };
    let cosine = "model.head={ kind = \"cosine\" }";
    for (stage, others, parts) in [
        ("method = \"crtt\"", &[][..], ["crtt", "`crt`"]),
        ("method = \"ncm\", training = {}", &[], ["unknown field", "training"]),
        ("method = \"crt\", training.lr = 1", &[], ["unknown field `lr`", "optimizer"]),
        ("method = \"meta-sampler\"", &[], ["missing field", "meta_set"]),
        ("method = \"tau-norm\"", &[], ["stage_two.tau", "dataset.validation"]),
        ("method = \"meta-sampler\", meta_set = \"validation\"", &[], ["meta_set", "validation"]),
        ("method = \"lws\"", &[cosine], ["lws", "linear head"]),
        ("method = \"crt\"", &["model.cam_calibration={}"], ["cam_calibration", "second stage"]),
        ("method = \"lws\"", &["loss.method=eql-v2"], ["lws", "3 columns for two classes"]),
        (
            "method = \"meta-sampler\", meta_set = \"train\", loss.method = \"eql-v2\"",
            &[],
            ["stage_two.loss.method", "one column per class"],
        ),
        (
            "method = \"classifier\", start = \"learned\", loss.method = \"seesaw\"",
            &[],
            ["classifier", "this one 4"],
        ),
        ("method = \"tau-norm\", tau.fixed = 1.0", &[cosine], ["tau-norm", "linear head"]),
        ("method = \"tau-norm\", tau.fixed = -1.0", &[], ["tau.fixed", "-1"]),
        ("method = \"crt\", training.batch_norm = \"train\"", &[], ["batch_norm", "live"]),
        (
            "method = \"crt\", training = { epochs = 1, iterations = 1 }",
            &[],
            ["training.epochs", "either"],
        ),
        (
            "method = \"meta-sampler\", meta_set = \"train\", training.optimizer = { kind = \"adamw\", lr = 1e-3 }",
            &[],
            ["optimizer.kind", "sgd"],
        ),
        (
            "method = \"meta-sampler\", meta_set = \"train\", init_power = 1.5",
            &[],
            ["stage_two.init_power", "1.5 is not in [0, 1]"],
        ),
        (
            "method = \"meta-sampler\", meta_set = \"train\", init_power = -0.1",
            &[],
            ["stage_two.init_power", "-0.1"],
        ),
        (
            "method = \"classifier\", start = \"learned\", head.kind = \"cosine\"",
            &[],
            ["stage_two.start", "another"],
        ),
    ] {
        let message = message(stage, others);
        assert!(parts.iter().all(|part| message.contains(part)), "{stage}: {message}");
    }

    let text = "task = \"classifier\"\nbase = \"none\"\nstage_two.method = \"crt\"";
    let recipe = ClassifierRecipe::parse("test", text, &[""; 0]).unwrap();
    let out = folder.path().join("out");
    let error = train_classifier(&recipe, &device(), &options(&out, false, false)).unwrap_err();
    assert!(error.to_string().contains("none") && !out.exists(), "{error}");
    let two = TrainOptions { replicas: vec![device()], ..options(&out, false, false) };
    let error = train_classifier(&recipe, &device(), &two).unwrap_err();
    assert!(error.to_string().contains("devices: ") && !out.exists(), "{error}");
}

#[test]
fn one_recipe_of_both_stages_is_two_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let both = format!("stage_two={{ method = \"crt\", {SHORT} }}");
    let both = recipe(&data, &["epochs=1", "seed=5", both.as_str()]);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    finished(train(&both, &device(), &options(&one, false, false)).unwrap());
    let base = one.join("stage_one");
    let text = format!(
        "task = \"classifier\"\nseed = 5\nbase = {base:?}\nstage_two = {{ method = \"crt\", {SHORT} }}"
    );
    let second = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
    finished(train_classifier(&second, &device(), &options(&two, false, false)).unwrap());
    let read = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(read(&one) == read(&two));
    let other = folder.path().join("other");
    let second = ClassifierRecipe { seed: 6, ..second };
    finished(train_classifier(&second, &device(), &options(&other, false, false)).unwrap());
    assert!(read(&one) != read(&other), "the seed counts");
}

#[test]
fn a_calibration_is_that_of_the_second_stage() {
    let strong = "{ method = \"logit-adjustment\", tau = 50.0 }";
    let base = Base::new(&["epochs=1", &format!("calibration={strong}")]);
    let stage = "method = \"tau-norm\", tau.fixed = 0.0";
    let plain = base.run("plain", stage);
    let recipe = base.recipe(stage, &[&format!("calibration={strong}")]);
    let out = base.folder.path().join("calibrated");
    let calibrated = finished(
        train_classifier_on(&base.trained, &recipe, &options(&out, false, false)).unwrap(),
    );
    // So strong a calibration gives the rarest class to every image.
    assert_eq!(calibrated.confusion.predicted_totals(), [0, 0, 18]);
    assert_ne!(plain.confusion.predicted_totals(), [0, 0, 18]);
    let again = evaluate(&out, &[""; 0], &device()).unwrap();
    assert_eq!(again.confusion, calibrated.confusion);
}

#[test]
fn a_calibration_that_does_not_fit_the_second_stage_is_refused_before_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let stage = format!("method = \"classifier\", loss.method = \"balanced-sigmoid\", {SHORT}");
    let stage = format!("stage_two={{ {stage} }}");
    let both = recipe(&data, &["epochs=1", "calibration.method=norcal", &stage]);
    let out = folder.path().join("out");
    let error = train(&both, &device(), &options(&out, false, false)).unwrap_err().to_string();
    assert!(error.contains("balanced-sigmoid") && !out.exists(), "{error}");
    // On a finished run, before anything is written.
    let base = Base::new(&["epochs=1"]);
    let stage = "method = \"ncm\"";
    let recipe = base.recipe(stage, &["calibration={ method = \"norcal\", gamma = -1.0 }"]);
    let error = train_classifier_on(&base.trained, &recipe, &options(&out, false, false));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("calibration.gamma must be at least 0") && !out.exists(), "{error}");
}

#[test]
fn a_run_that_was_stopped_is_no_base_but_its_checkpoint_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let (base, out) = (folder.path().join("base"), folder.path().join("out"));
    let first = recipe(&data, &["epochs=1"]);
    let stopped = train(&first, &device(), &options(&base, false, true)).unwrap();
    assert!(matches!(stopped, Outcome::Interrupted { step: 1 }), "{stopped:?}");
    let run = |base: &Path| {
        let text = format!("task = \"classifier\"\nbase = {base:?}\nstage_two.method = \"ncm\"");
        let recipe = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
        train_classifier(&recipe, &device(), &options(&out, false, false))
    };
    let error = run(&base).unwrap_err().to_string();
    assert!(error.contains("not finished") && error.contains("base") && !out.exists(), "{error}");
    finished(run(&base.join("last.safetensors")).unwrap());
}

#[test]
fn a_run_goes_on_with_the_base_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let base = |name: &str, overrides: &[&str], is_resumed: bool, is_stopped: bool| {
        let overrides: Vec<&str> = [&["epochs=1"], overrides].concat();
        let out = folder.path().join(name);
        let options = options(&out, is_resumed, is_stopped);
        train(&recipe(&data, &overrides), &device(), &options).unwrap();
        TrainedModel::load(&out, &[""; 0], &device()).unwrap()
    };
    let early = base("base", &[], false, true);
    let late = base("base", &["run.log_every=1"], true, false);
    let other = base("other", &["optimizer.lr=0.01"], false, false);
    let text =
        format!("task = \"classifier\"\nbase = \"x\"\nstage_two = {{ method = \"crt\", {SHORT} }}");
    let second = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
    let out = folder.path().join("out");
    let run = |trained: &TrainedModel, is_resumed: bool, is_stopped: bool| {
        train_classifier_on(trained, &second, &options(&out, is_resumed, is_stopped))
    };
    assert!(matches!(run(&late, false, true), Ok(Outcome::Interrupted { step: 1 })));
    for (trained, parts) in [
        (&early, ["step 5 with", "not of step 1 with"]),
        (&other, ["builds on", "optimizer.lr is 0.05, not 0.01"]),
    ] {
        let message = run(trained, true, false).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    finished(run(&late, true, false).unwrap());
}

#[test]
fn defaults_are_those_of_the_released_codes() {
    let text = "task = \"classifier\"\nbase = \"x\"\nstage_two = { method = \"METHOD\" }";
    let resolved = |method: &str| {
        let text = text.replace("METHOD", method);
        ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap().to_toml()
    };
    for (method, parts) in [
        ("crt", ["epochs = 10", "lr = 0.2", "batch_size = 512", "kind = \"class-aware\""]),
        ("lws", ["epochs = 5", "lr = 0.2", "scale_bias = true", "images_per_class = 4"]),
        ("classifier", ["iterations = 2000", "lr = 0.1", "start = \"fresh\"", "5e-4"]),
        (
            "meta-sampler\", meta_set = \"train",
            ["rate_lr = 0.01", "init_power = 0.0", "balanced-softmax", "iterations = 2000"],
        ),
        ("ncm", ["distance = \"l2\"", "features = \"cl2n\"", "", ""]),
    ] {
        let text = resolved(method).replace("0.0005", "5e-4");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(
            ClassifierRecipe::parse("again", &text, &[""; 0]).unwrap().to_toml(),
            resolved(method)
        );
    }
}

#[test]
fn a_comparison_trains_a_shared_first_stage_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let whole = |stage: Option<String>| {
        let stage = stage.map(|stage| format!("stage_two={{ {stage} }}"));
        let overrides: Vec<&str> = ["epochs=1"].into_iter().chain(stage.as_deref()).collect();
        AnyRecipe::Classification(recipe(&data, &overrides))
    };
    let out = folder.path().join("out");
    let base = format!("{}/plain-seed{{seed}}", out.display());
    let text = format!("task = \"classifier\"\nbase = \"{base}\"\nstage_two.method = \"ncm\"");
    let recipes = [
        ("plain".to_string(), whole(None)),
        ("crt".to_string(), whole(Some(format!("method = \"crt\", {SHORT}")))),
        ("lws".to_string(), whole(Some(format!("method = \"lws\", {SHORT}")))),
        ("means".to_string(), AnyRecipe::parse("means", &text, &[""; 0]).unwrap()),
    ];
    let options = options(&out, false, false);
    let Outcome::Finished(result) = compare(&recipes, &[1, 2], &device(), &options).unwrap() else {
        panic!("interrupted")
    };
    let AnyComparison::Classification(_) = *result else { panic!("detection") };
    let table = result.table();
    assert!(["plain", "crt", "lws", "means"].iter().all(|name| table.contains(name)), "{table}");
    assert!(out.join("crt-seed2/report.json").exists());
    assert!(!out.join("crt-seed2/stage_one").exists(), "it is that of plain-seed2");
    // The result is that of both stages in one folder.
    let AnyRecipe::Classification(crt) = whole(Some(format!("method = \"crt\", {SHORT}"))) else {
        panic!("classification")
    };
    let alone = folder.path().join("alone");
    finished(
        train(&Recipe { seed: 2, ..crt }, &device(), &self::options(&alone, false, false)).unwrap(),
    );
    let read = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(read(&alone) == read(&out.join("crt-seed2")));
}
