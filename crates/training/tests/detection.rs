//! Small detectors on a small synthetic set: stops, stages, files, use.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use longtail_testing::device;
use longtail_training::{
    AnyRecipe, AnyTrained, DetectionRecipe, DetectionResult, Outcome, ProgressMode, TrainOptions,
    TrainedDetector, TrainedModel, TrainingError, compare, train_detector,
};

/// Six iterations of two images of 64 x 64 pixels.
const RECIPE: &str = include_str!("tiny_detector.toml");

fn recipe(overrides: &[&str]) -> DetectionRecipe {
    DetectionRecipe::parse("tiny", RECIPE, overrides).unwrap()
}

fn options(out: &Path, is_resumed: bool, is_stopped: bool) -> TrainOptions {
    TrainOptions {
        resume: is_resumed,
        stop: Arc::new(AtomicBool::new(is_stopped)),
        progress: ProgressMode::Quiet,
        ..TrainOptions::new(out)
    }
}

fn finish(recipe: &DetectionRecipe, out: &Path) -> DetectionResult {
    match train_detector(recipe, &device(), &options(out, false, false)).unwrap() {
        Outcome::Finished(result) => *result,
        other => panic!("{other:?}"),
    }
}

/// Metrics without the one number that depends on the clock.
fn metrics(out: &Path) -> Vec<String> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let without_speed = |line: &str| line.split(",\"images_per_second\"").next().unwrap().into();
    text.lines().map(without_speed).collect()
}

fn message(result: Result<Outcome<DetectionResult>, TrainingError>) -> String {
    result.unwrap_err().to_string()
}

/// With the stop flag set from the start, every call does one step: the run is stopped at every
/// position there is.
fn assert_stops_do_not_matter(overrides: &[&str], min_stops: u64) {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(overrides);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    finish(&recipe, &whole);
    let mut num_stops = 0;
    while let Outcome::Interrupted { .. } =
        train_detector(&recipe, &device(), &options(&stopped, num_stops > 0, true)).unwrap()
    {
        num_stops += 1;
    }
    assert!(num_stops >= min_stops, "{num_stops} stops");
    assert_eq!(metrics(&whole), metrics(&stopped));
    for name in ["model.safetensors", "report.json"] {
        let (whole, stopped) = (whole.join(name), stopped.join(name));
        assert!(fs::read(whole).unwrap() == fs::read(stopped).unwrap(), "{name} differs");
    }
}

#[test]
fn stops_do_not_matter_to_a_stateful_loss_with_everything() {
    assert_stops_do_not_matter(
        &[
            "ema.decay=0.9",
            "gradient.accumulate=2",
            "evaluation={ every_iterations = 3, max_images = 2 }",
        ],
        5,
    );
}

#[test]
fn stops_do_not_matter_to_masks_and_two_stages() {
    assert_stops_do_not_matter(
        &[
            "model.kind=mask-rcnn",
            "model.mask_head={ num_convs = 1, channels = 8 }",
            "loss={ method = \"binary-cross-entropy\" }",
            "iterations=2",
            "stage_two={ iterations = 3, loss.method = \"balanced-sigmoid\" }",
        ],
        3,
    );
}

#[test]
fn stops_do_not_matter_to_a_memory_of_features_and_to_drawn_rows() {
    let memory = "model.feature_memory={ queue = 3, classes = 3 }";
    assert_stops_do_not_matter(&["loss={ method = \"loce\" }", memory], 5);
    let bags = "loss={ method = \"bags\", bounds = [4], others_ratio = 1.0 }";
    assert_stops_do_not_matter(&[bags], 5);
    assert_stops_do_not_matter(
        &[
            memory,
            "loss={ method = \"cross-entropy\", background = true }",
            "calibration={ method = \"norcal\", gamma = 0.3 }",
            "iterations=2",
            "stage_two={ iterations = 3, loss.method = \"loce\" }",
        ],
        3,
    );
}

/// Clipping, an average and Nesterov's form are on, so that none of them is lost.
#[test]
fn stops_do_not_matter_to_meta_reweighter() {
    for meta_loss in ["unshifted", "shifted"] {
        let stage = format!(
            "stage_two={{ iterations = 6, loss = {{ method = \"balanced-sigmoid\", form = \"released\" }}, \
             optimizer = {{ kind = \"sgd\", lr = 0.01, nesterov = true }}, \
             meta_reweighter = {{ meta_loss = \"{meta_loss}\", meta_batch_size = 3 }} }}"
        );
        let overrides =
            ["loss={ method = \"binary-cross-entropy\" }", "iterations=1", "ema.decay=0.9", &stage];
        assert_stops_do_not_matter(&overrides, 5);
    }
}

#[test]
fn meta_reweighter_trains_the_classifier_alone_and_learns_weights() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let sigmoid = "loss={ method = \"binary-cross-entropy\" }";
    let stage =
        "stage_two={ iterations = 2, loss.method = \"balanced-sigmoid\", meta_reweighter = {} }";
    finish(&recipe(&["iterations=2", sigmoid, stage]), &out);
    let changed = changed(&out.join("stage_one"), &out);
    let classifier =
        ["bias", "weight"].map(|name| format!("roi_heads.box_predictor.cls_score.{name}"));
    assert_eq!(changed, classifier);
    let rates = fs::read_to_string(out.join("class_rates.json")).unwrap();
    let rates: Vec<f64> = serde_json::from_str(&rates).unwrap();
    assert_eq!(rates.len(), 5);
    assert!(rates.iter().any(|rate| (rate - 0.5).abs() > 1e-3), "{rates:?}");
    assert!(rates.iter().all(|rate| (rate - 0.5).abs() < 0.01), "{rates:?}");
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(text.contains("loss_meta") && text.contains("loss_classifier"), "{text}");
}

#[test]
fn a_comparison_trains_a_shared_first_stage_once() {
    let folder = tempfile::tempdir().unwrap();
    let sigmoid = "loss={ method = \"binary-cross-entropy\" }";
    let stage = "stage_two={ iterations = 2, loss.method = \"balanced-sigmoid\" }";
    let plain = recipe(&["iterations=2", sigmoid]);
    let decoupled = recipe(&["iterations=2", sigmoid, stage]);
    let recipes = [("plain", &plain), ("decoupled", &decoupled)];
    let recipes =
        recipes.map(|(name, recipe)| (name.to_string(), AnyRecipe::Detection(recipe.clone())));
    let out = folder.path().join("out");
    let outcome = compare(&recipes, &[7], &device(), &options(&out, false, false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert!(!out.join("decoupled-seed7/stage_one").exists(), "it is that of plain-seed7");
    let alone = folder.path().join("alone");
    finish(&DetectionRecipe { seed: 7, ..decoupled }, &alone);
    assert!(changed(&alone, &out.join("decoupled-seed7")).is_empty());
    // By the seed in reports runs are paired.
    for run in ["plain-seed7", "decoupled-seed7"] {
        let report = fs::read_to_string(out.join(run).join("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["seed"], 7, "{run}");
    }
}

#[test]
fn meta_reweighter_says_what_it_needs() {
    let stage =
        |more: &str| format!("stage_two={{ iterations = 2, meta_reweighter = {{}}{more} }}");
    let sigmoid = "loss={ method = \"binary-cross-entropy\" }";
    for (overrides, part) in [
        (vec!["loss={ method = \"eql-v2\" }".to_string(), stage("")], "one column per class"),
        (vec![sigmoid.into(), "model={ kind = \"retinanet\" }".into(), stage("")], "faster-rcnn"),
        (vec![sigmoid.into(), "gradient.accumulate=2".into(), stage("")], "accumulate"),
        (
            vec![sigmoid.into(), stage(", optimizer = { kind = \"adamw\", lr = 1e-3 }")],
            "optimizer sgd",
        ),
        (vec![sigmoid.into(), stage("").replace("{}", "{ rate_lr = -1.0 }")], "rate_lr"),
    ] {
        let error = DetectionRecipe::parse("tiny", RECIPE, &overrides).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_second_stage_may_have_another_layout() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let overrides = ["iterations=2", "stage_two={ iterations = 2, loss.method = \"seesaw\" }"];
    // Seesaw has two columns more, so that its classifier cannot begin with what EQL v2 learned.
    let error =
        message(train_detector(&recipe(&overrides), &device(), &options(&out, false, false)));
    assert!(error.contains("cls_score") && error.contains("fresh"), "{error}");
    fs::remove_dir_all(&out).unwrap();

    let fresh = [overrides[0], overrides[1], "stage_two.classifier=fresh"];
    finish(&recipe(&fresh), &out);
    let load = |path: &Path| TrainedDetector::load(path, &[""; 0], &device()).unwrap();
    let (first, second) = (load(&out.join("stage_one")), load(&out));
    assert_eq!(first.recipe().final_loss().method(), "eql-v2");
    assert_eq!(second.recipe().final_loss().method(), "seesaw");
    // Boxes of each class have a group for background after EQL v2 alone.
    let changed = changed(&out.join("stage_one"), &out);
    assert!(changed.iter().all(|name| name.contains("box_predictor")), "{changed:?}");
    assert!(changed.iter().any(|name| name.contains("cls_score")), "{changed:?}");
}

#[test]
fn nothing_but_the_classifier_moves_in_a_second_stage() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let sigmoid = "loss={ method = \"binary-cross-entropy\" }";
    let stage_two = "stage_two={ iterations = 2, loss.method = \"balanced-sigmoid\" }";
    finish(&recipe(&["iterations=2", sigmoid, stage_two]), &out);
    let changed = changed(&out.join("stage_one"), &out);
    let classifier =
        ["bias", "weight"].map(|name| format!("roi_heads.box_predictor.cls_score.{name}"));
    assert_eq!(changed, classifier);
}

/// Names of the tensors that differ between the final weights of two runs.
fn changed(first: &Path, second: &Path) -> Vec<String> {
    let tensors = |path: &Path| {
        let bytes = fs::read(path.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let entry =
            |(name, view): (String, safetensors::tensor::TensorView)| (name, view.data().to_vec());
        file.tensors().into_iter().map(entry).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (tensors(first), tensors(second));
    let names = before.keys().filter(|name| before.get(*name) != after.get(*name));
    names.cloned().collect()
}

#[test]
fn a_finished_run_has_everything_and_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let recipe = recipe(&["evaluation.every_iterations=4", "model.detection.score_threshold=0.0"]);
    let result = finish(&recipe, &out);
    for name in ["best.safetensors", "last.safetensors", "model.safetensors", "report.json"] {
        assert!(out.join(name).exists(), "{name}");
    }
    let lines: Vec<serde_json::Value> = fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = &lines[0];
    let names = ["loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"];
    let parts: f64 = names.iter().map(|name| first[name].as_f64().unwrap()).sum();
    assert!((parts - first["loss"].as_f64().unwrap()).abs() < 1e-5, "{first}");
    let evaluations: Vec<_> = lines.iter().filter(|line| line.get("eval").is_some()).collect();
    assert_eq!(evaluations.len(), 2, "after step 4 and at the end");
    assert!(evaluations[0]["eval"]["AP"].is_number(), "{}", evaluations[0]);

    let trained = TrainedDetector::load(&out, &[""; 0], &device()).unwrap();
    assert_eq!(trained.evaluate().unwrap(), result);
    assert!(matches!(
        AnyTrained::load(&out, &[""; 0], &device()).unwrap(),
        AnyTrained::Detection(_)
    ));
    let error = TrainedModel::load(&out, &[""; 0], &device()).unwrap_err().to_string();
    assert!(error.contains("detector"), "{error}");

    let image = recipe.dataset.load().unwrap().val.load(0).unwrap();
    let path = folder.path().join("image.png");
    longtail_training::write_png(&path, &image).unwrap();
    let prediction = trained.predictor().detect_file(&path).unwrap();
    let found = prediction.detections();
    assert!(!found.is_empty() && found.is_sorted_by(|a, b| a.score >= b.score));
    assert!(found.iter().all(|one| one.bbox.x2 <= 64.0 && one.bbox.y2 <= 64.0 && one.label < 5));
    prediction.write(folder.path()).unwrap();
    assert!(folder.path().join("image.json").exists());
    let error =
        trained.predictor().detect_file(&folder.path().join("none.png")).unwrap_err().to_string();
    assert!(error.contains("none.png"), "{error}");
}

#[test]
fn refusals_leave_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (overrides, part) in [
        (&["loss={ method = \"cross-entropy\" }"][..], "background"),
        (&["dataset.source.head_count=99"][..], "head_count"),
        (&["init.path=none.pth"][..], "none.pth"),
        (&["model.rpn.anchor_sizes=[[8.0]]"][..], "rpn.anchor_sizes"),
        (&["loss={ method = \"eql\", tail = { image-count-at-most = 0 } }"][..], "0"),
    ] {
        let result = train_detector(&recipe(overrides), &device(), &options(&out, false, false));
        let message = message(result);
        assert!(message.contains(part), "{message}");
        assert!(!out.exists(), "{overrides:?}");
    }
}

#[test]
fn another_run_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    finish(&recipe(&["iterations=1"]), &out);
    let again = train_detector(&recipe(&["iterations=1"]), &device(), &options(&out, false, false));
    assert!(message(again).contains("already holds a run"));
    let other = recipe(&["iterations=1", "model.rois.per_image=8"]);
    let other = message(train_detector(&other, &device(), &options(&out, true, false)));
    assert!(other.contains("model.rois.per_image is 16, not 8"), "{other}");
}
