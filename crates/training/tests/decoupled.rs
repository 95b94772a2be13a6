//! Classifiers on the features of a finished run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{recipe, write_images};
use longtail_testing::device;
use longtail_training::{
    ClassifierRecipe, Features, Outcome, ProgressMode, TrainOptions, TrainedModel, evaluate, train,
    train_classifier, train_decoupled,
};

const SECOND_STAGE: &str = r#"
    base = "set below"
    batch_size = 8
    iterations = 60
    passes = 2
    sampler.kind = "class-balanced"
    optimizer = { kind = "sgd", lr = 0.5 }
"#;

#[test]
fn a_second_stage_trains_the_classifier_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (data, base) = (folder.path().join("data"), folder.path().join("base"));
    write_images(&data);
    let mut options = TrainOptions::new(&base);
    options.progress = ProgressMode::Quiet;
    let first = recipe(&data, &["epochs=6"]);
    assert!(matches!(train(&first, &device(), &options).unwrap(), Outcome::Finished(_)));

    let mut second: ClassifierRecipe = toml::from_str(SECOND_STAGE).unwrap();
    second.base = base.clone();
    let out = folder.path().join("second");
    let report = train_decoupled(&second, &device(), &out).unwrap();
    assert!(report.micro_accuracy > 0.8, "{}", report.micro_accuracy);
    let evaluated = evaluate(&out, &[""; 0], &device()).unwrap();
    assert_eq!(evaluated.confusion, report.confusion);

    let load = |path| TrainedModel::load(path, &[""; 0], &device()).unwrap();
    let (base, whole) = (load(&base), load(&out));
    let device = device();
    let images = burn::tensor::Tensor::ones([1, 3, 8, 8], &device);
    let features = [&base, &whole].map(|m| m.model().features(images.clone()).into_data());
    assert_eq!(features[0], features[1]);
    let logits = [&base, &whole].map(|m| m.model().forward(images.clone()).into_data());
    assert_ne!(logits[0], logits[1]);

    let error = train_decoupled(&second, &device, &out).unwrap_err().to_string();
    assert!(error.contains("already holds a run"), "{error}");
}

#[test]
fn one_set_of_features_serves_many_losses_and_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let (data, base) = (folder.path().join("data"), folder.path().join("base"));
    write_images(&data);
    let mut options = TrainOptions::new(&base);
    options.progress = ProgressMode::Quiet;
    train(&recipe(&data, &[]), &device(), &options).unwrap();
    let trained = TrainedModel::load(&base, &[""; 0], &device()).unwrap();
    let features = Features::extract(&trained, 0).unwrap();
    let weight = |method: &str, seed: u64| {
        let text = format!("{SECOND_STAGE}\nseed = {seed}\nloss.method = \"{method}\"");
        let recipe: ClassifierRecipe = toml::from_str(&text).unwrap();
        let (classifier, ..) = train_classifier(&trained, &features, &recipe).unwrap();
        let logits = classifier.forward(burn::tensor::Tensor::ones([1, 3, 8, 8], &device()));
        logits.into_data()
    };
    let first = weight("balanced-softmax", 0);
    assert_eq!(first, weight("balanced-softmax", 0));
    assert_ne!(first, weight("balanced-softmax", 1));
    assert_ne!(first, weight("eql-v2", 0));
}
