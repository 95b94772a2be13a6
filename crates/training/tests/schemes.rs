//! Schemes: stops at every step, files, refusals, what they learn.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{recipe, write_images};
use longtail_eval::ClassificationReport;
use longtail_testing::device;
use longtail_training::{
    ClassifierRecipe, Outcome, ProgressMode, Recipe, TrainOptions, TrainedModel, evaluate, predict,
    train, train_classifier,
};

/// A folder with images and finished runs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_images(&folder.path().join("data"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipe(&self, overrides: &[&str]) -> Recipe {
        recipe(&self.path("data"), overrides)
    }

    fn options(&self, out: &str, is_resumed: bool, is_stopped: bool) -> TrainOptions {
        TrainOptions {
            resume: is_resumed,
            stop: Arc::new(AtomicBool::new(is_stopped)),
            progress: ProgressMode::Quiet,
            ..TrainOptions::new(self.path(out))
        }
    }

    fn finish(&self, recipe: &Recipe, out: &str) -> ClassificationReport {
        finished(train(recipe, &device(), &self.options(out, false, false)).unwrap())
    }

    /// The report of a run, which must be that of its checkpoint.
    fn report(&self, out: &str) -> ClassificationReport {
        let written = ClassificationReport::read(&self.path(out).join("report.json")).unwrap();
        let report = evaluate(&self.path(out), &[""; 0], &device()).unwrap();
        assert_eq!((&report.confusion, &report.name), (&written.confusion, &written.name));
        written
    }

    /// With the stop flag set from the start, every call does one step.
    fn assert_stops_do_not_matter(&self, recipe: &Recipe, files: &[&str], min_stops: u64) {
        self.finish(recipe, "whole");
        let mut num_stops = 0;
        while let Outcome::Interrupted { .. } =
            train(recipe, &device(), &self.options("stopped", num_stops > 0, true)).unwrap()
        {
            num_stops += 1;
        }
        assert!(num_stops >= min_stops, "{num_stops} stops");
        let (whole, stopped) = (self.path("whole"), self.path("stopped"));
        assert_eq!(metrics(&whole), metrics(&stopped));
        assert_eq!(names(&whole), names(&stopped));
        let usual = ["model.safetensors", "report.json"];
        for name in usual.iter().chain(files) {
            let (whole, stopped) = (whole.join(name), stopped.join(name));
            assert!(fs::read(whole).unwrap() == fs::read(stopped).unwrap(), "{name} differs");
        }
        self.report("whole");
    }

    /// The first line of an error of training.
    fn refusal(&self, overrides: &[&str]) -> String {
        let recipe = self.recipe(overrides);
        let error = train(&recipe, &device(), &self.options("refused", false, false)).unwrap_err();
        assert!(!self.path("refused").exists());
        error.to_string()
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

const CONTRAST: &str = "scheme={ kind = \"contrast\", queue_length = 24, width = 8, \
                        key_transforms = [{ op = \"horizontal-flip\" }, { op = \"color-jitter\" }] }";

#[test]
fn stops_do_not_matter_to_class_balanced_distillation() {
    let place = Place::new();
    place.finish(&place.recipe(&["epochs=1"]), "first-7");
    place.finish(&place.recipe(&["epochs=1", "model.head={ kind = \"cosine\" }"]), "second");
    let scheme = format!(
        "scheme={{ kind = \"class-balanced-distillation\", teachers = [{:?}, {:?}] }}",
        place.path("first-{seed}"),
        place.path("second")
    );
    let overrides = [scheme.as_str(), "seed=7", "epochs=2", "ema.decay=0.9"];
    place.assert_stops_do_not_matter(&place.recipe(&overrides), &[], 9);

    let trained = TrainedModel::load(&place.path("whole"), &[""; 0], &device()).unwrap();
    assert_eq!((trained.model().num_features(), trained.model().head.name()), (128, "cosine"));
    assert_eq!(trained.recipe().name(), "class-balanced-distillation");
    let image = place.path("data/test/red/00.png");
    assert_eq!(predict(&trained, &[image], 3).unwrap()[0].classes.len(), 3);
    let text = fs::read_to_string(place.path("whole/metrics.jsonl")).unwrap();
    assert!(text.contains("\"loss_features\":"), "{text}");

    // A student can be the base of a second stage, which sees its projected features.
    let text = format!(
        "task = \"classifier\"\nbase = {:?}\nstage_two = {{ method = \"crt\", \
         training = {{ batch_size = 8, iterations = 3 }} }}",
        place.path("whole")
    );
    let recipe = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
    let options = place.options("crt", false, false);
    finished(train_classifier(&recipe, &device(), &options).unwrap());
    assert_eq!(place.report("crt").name, "crt");
}

#[test]
fn stops_do_not_matter_to_contrast_and_to_a_stage_after_it() {
    let place = Place::new();
    let stage = "stage_two={ method = \"lws\", training = { batch_size = 8, iterations = 4 } }";
    let overrides = [CONTRAST, stage, "epochs=2", "loss={ method = \"equalized-softmax\" }"];
    let files = ["stage_one/model.safetensors", "stage_one/report.json"];
    place.assert_stops_do_not_matter(&place.recipe(&overrides), &files, 12);
    assert_eq!(place.report("whole").name, "lws");
    assert_eq!(place.report("whole/stage_one").name, "contrast");
}

/// Three recipes: features, the scales of classes, and the student.
#[test]
fn stops_do_not_matter_to_the_student_of_the_three_stages() {
    let place = Place::new();
    place.finish(&place.recipe(&[CONTRAST, "epochs=2", "ema.decay=0.5"]), "one");
    let text = format!(
        "task = \"classifier\"\nbase = {:?}\n\
         stage_two = {{ method = \"lws\", training = {{ batch_size = 8, iterations = 4 }} }}",
        place.path("one")
    );
    let recipe = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
    let options = place.options("two", false, false);
    finished(train_classifier(&recipe, &device(), &options).unwrap());

    let scheme =
        format!("scheme={{ kind = \"self-distillation\", teacher = {:?} }}", place.path("two"));
    // The hard head has a loss with state.
    let overrides = [scheme.as_str(), "epochs=2", "loss={ method = \"equalized-softmax\" }"];
    let files = ["hard_head/report.json"];
    place.assert_stops_do_not_matter(&place.recipe(&overrides), &files, 9);
    let hard = ClassificationReport::read(&place.path("whole/hard_head/report.json")).unwrap();
    assert_eq!(hard.name, "self-distillation, hard head");
    assert_eq!(place.report("whole").name, "self-distillation");
    let text = fs::read_to_string(place.path("whole/metrics.jsonl")).unwrap();
    assert!(text.contains("\"loss_hard\":") && text.contains("\"loss_soft\":"), "{text}");
}

/// The rarest class has 5 of 41 images: its 8 features are there after two epochs.
#[test]
fn stops_do_not_matter_to_breadcrumb() {
    for overrides in [&["drop_last=true"][..], &["drop_last=false", "loss.method=seesaw"]] {
        let place = Place::new();
        let scheme = "scheme={ kind = \"breadcrumb\", features_per_class = 8 }";
        let overrides = [&[scheme, "epochs=4"], overrides].concat();
        let files = ["random_head/report.json"];
        place.assert_stops_do_not_matter(&place.recipe(&overrides), &files, 19);
        assert_eq!(place.report("whole").name, "breadcrumb");
    }
}

/// Without the weight of what they add, schemes are plain training.
#[test]
fn limits_are_plain_training() {
    let place = Place::new();
    place.finish(&place.recipe(&["epochs=1"]), "plain");
    let none = "scheme={ kind = \"contrast\", queue_length = 8, weight = 0.0 }";
    place.finish(&place.recipe(&["epochs=1", none]), "contrast");

    let student = [
        "epochs=1",
        "model.projection={ width = 64 }",
        "model.head={ kind = \"cosine\", scale = { fixed = 20.0 }, eps = 1e-12, \
         weight_eps = 1e-12, init = \"glorot\" }",
        "sampler.kind=class-balanced-copies",
    ];
    place.finish(&place.recipe(&student), "plain-student");
    let none = format!(
        "scheme={{ kind = \"class-balanced-distillation\", teachers = [{:?}], alpha = 0.0 }}",
        place.path("plain")
    );
    place.finish(&place.recipe(&["epochs=1", none.as_str()]), "student");
    let weights = |out: &str| fs::read(place.path(out).join("model.safetensors")).unwrap();
    assert!(weights("plain") == weights("contrast"));
    assert!(weights("plain-student") == weights("student"));
    assert_ne!(weights("plain").len(), weights("student").len());
}

/// What the balanced head learns from changes neither the backbone nor the random head.
#[test]
fn the_backbone_of_breadcrumb_sees_nothing_of_the_balanced_head() {
    let place = Place::new();
    let reports = [4, 9].map(|features| {
        let scheme = format!("scheme={{ kind = \"breadcrumb\", features_per_class = {features} }}");
        let out = format!("run-{features}");
        place.finish(&place.recipe(&[scheme.as_str(), "epochs=4"]), &out);
        ["random_head/report.json", "model.safetensors"]
            .map(|file| fs::read(place.path(&out).join(file)).unwrap())
    });
    let [[random, model], [other_random, other_model]] = reports;
    assert!(random == other_random);
    assert!(model != other_model);
}

#[test]
fn all_schemes_learn_the_colours() {
    let place = Place::new();
    // Of 18 images; chance is a third, and rounding may cost one or two.
    let least = 0.75;
    let teacher = place.finish(&place.recipe(&["epochs=12"]), "teacher");
    assert!(teacher.micro_accuracy >= least, "{}", teacher.micro_accuracy);
    let path = place.path("teacher");
    let distillation =
        format!("scheme={{ kind = \"class-balanced-distillation\", teachers = [{path:?}] }}");
    let soft = format!("scheme={{ kind = \"self-distillation\", teacher = {path:?} }}");
    let breadcrumb = "scheme={ kind = \"breadcrumb\", features_per_class = 6 }";
    for (out, scheme) in [
        ("student", distillation.as_str()),
        ("contrasted", CONTRAST),
        ("soft", soft.as_str()),
        ("crumbs", breadcrumb),
    ] {
        let report = place.finish(&place.recipe(&[scheme, "epochs=12"]), out);
        assert!(report.micro_accuracy >= least, "{out}: {}", report.micro_accuracy);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let place = Place::new();
    let data = place.path("data");
    place.finish(&place.recipe(&["epochs=1"]), "teacher");
    let path = place.path("teacher");
    let parse = |overrides: &[&str]| {
        let root = format!("dataset.source.root={}", data.display());
        let overrides: Vec<&str> = [root.as_str()].into_iter().chain(overrides.to_vec()).collect();
        Recipe::parse("tiny", &place.recipe(&[]).to_toml(), &overrides).unwrap_err().to_string()
    };
    let teacher = |rest: &str| {
        let kind = "class-balanced-distillation";
        format!("scheme={{ kind = {kind:?}, teachers = [{path:?}]{rest} }}")
    };
    let contrast = |rest: &str| format!("scheme={{ kind = \"contrast\"{rest} }}");
    for (scheme, other, parts) in [
        (teacher(", alpha = 1.5"), "", vec!["scheme.alpha", "1.5"]),
        (teacher(""), "sampler.kind=square-root", vec!["`sampler`", "scheme.sampler"]),
        (teacher(""), "model.head={ kind = \"cosine\" }", vec!["model.head", "scheme.head"]),
        (teacher(""), "reweighting.from_epoch=1", vec!["reweighting", "scheme"]),
        (teacher(", alpha2 = 0.5"), "", vec!["alpha2", "`alpha`"]),
        (contrast(""), "", vec!["queue_length"]),
        (contrast(", queue_length = 20"), "", vec!["queue_length", "20", "8", "try 16"]),
        (contrast(", queue_length = 0"), "", vec!["queue_length", "0 is not at least 1"]),
        (contrast(", queue_length = 8"), "drop_last=false", vec!["drop_last", "queue"]),
        (contrast(", queue_length = 8, temperature = 0.0"), "", vec!["scheme.temperature"]),
        ("scheme={ kind = \"breadcrumbs\" }".into(), "", vec!["breadcrumbs", "`breadcrumb`"]),
        ("scheme={ kind = \"plain\", x = 1 }".into(), "", vec!["unknown field `x`"]),
    ] {
        let overrides: Vec<&str> =
            [scheme.as_str(), other].into_iter().filter(|text| !text.is_empty()).collect();
        // The scheme comes second, so that the error is about both.
        let overrides: Vec<&str> = overrides.into_iter().rev().collect();
        let message = parse(&overrides);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }

    let scheme = teacher(", projection = 32");
    let message = place.refusal(&[scheme.as_str()]);
    assert!(message.contains("scheme.projection") && message.contains("64"), "{message}");
    let other = "transforms.normalize={ mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }";
    let message = place.refusal(&[teacher("").as_str(), other]);
    assert!(message.contains("scheme.teachers") && message.contains("normalises"), "{message}");
    let soft =
        |path: &Path| format!("scheme={{ kind = \"self-distillation\", teacher = {path:?} }}");
    let message = place.refusal(&[soft(&place.path("nowhere")).as_str()]);
    assert!(message.contains("nowhere"), "{message}");
    let stopped = place.path("halfway");
    train(&place.recipe(&[]), &device(), &place.options("halfway", false, true)).unwrap();
    let message = place.refusal(&[soft(&stopped).as_str()]);
    assert!(message.contains("halfway") && message.contains("not finished"), "{message}");
    for folder in ["train", "test"] {
        fs::rename(data.join(folder).join("red"), data.join(folder).join("violet")).unwrap();
    }
    let message = place.refusal(&[soft(&path).as_str()]);
    assert!(message.contains("scheme.teacher") && message.contains("other classes"), "{message}");
}
