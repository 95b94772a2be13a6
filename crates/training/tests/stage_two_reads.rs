//! How often a step of a second stage waits for the device.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{recipe, write_images};
use longtail_kernels::host_reads;
use longtail_testing::device;
use longtail_training::{
    ClassifierRecipe, Outcome, ProgressMode, TrainOptions, TrainedModel, train, train_classifier_on,
};

/// One test, as the count is of the whole process.
#[test]
fn steps_on_cached_features_read_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let base = folder.path().join("base");
    let options = |name: &str| TrainOptions {
        progress: ProgressMode::Quiet,
        ..TrainOptions::new(folder.path().join(name))
    };
    let first = recipe(&data, &["epochs=1"]);
    assert!(matches!(train(&first, &device(), &options("base")).unwrap(), Outcome::Finished(_)));
    let trained = TrainedModel::load(&base, &[""; 0], &device()).unwrap();
    for (stage, per_step) in [
        ("method = \"meta-sampler\", meta_set = \"train\", TRAINING", 0),
        ("method = \"crt\", TRAINING", 0),
        // The host loads the images that the device has drawn.
        ("method = \"meta-sampler\", meta_set = \"train\", LIVE", 1),
    ] {
        let reads = |iterations: u64| {
            let training = format!("training = {{ batch_size = 8, iterations = {iterations} }}");
            let live = training.replace(" }", ", features.kind = \"live\" }");
            let stage = stage.replace("TRAINING", &training).replace("LIVE", &live);
            let text = format!(
                "task = \"classifier\"\nbase = \"\"\nstage_two = {{ {stage} }}\n\
                 run = {{ log_every = 1000, checkpoint_every = 0 }}"
            );
            let recipe = ClassifierRecipe::parse("test", &text, &[""; 0]).unwrap();
            let before = host_reads();
            let options = options(&format!("{per_step}-{iterations}-{}", stage.len()));
            train_classifier_on(&trained, &recipe, &options).unwrap();
            host_reads() - before
        };
        assert_eq!(reads(9) - reads(4), 5 * per_step, "{stage}");
    }
}
