//! How often a step of a scheme waits for the device: never.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{recipe, write_images};
use longtail_kernels::host_reads;
use longtail_testing::device;
use longtail_training::{ProgressMode, TrainOptions, train};

/// One test, as the count is of the whole process.
#[test]
fn steps_of_schemes_read_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data);
    let run = |name: &str, overrides: &[&str]| {
        let options = TrainOptions {
            progress: ProgressMode::Quiet,
            ..TrainOptions::new(folder.path().join(name))
        };
        let quiet = ["run.log_every=1000", "evaluation.every_epochs=0"];
        let recipe = recipe(&data, &[overrides, &quiet].concat());
        let before = host_reads();
        train(&recipe, &device(), &options).unwrap();
        host_reads() - before
    };
    run("teacher", &["epochs=1"]);
    let teacher = folder.path().join("teacher");
    let distillation =
        format!("scheme={{ kind = \"class-balanced-distillation\", teachers = [{teacher:?}] }}");
    let soft = format!("scheme={{ kind = \"self-distillation\", teacher = {teacher:?} }}");
    for (name, scheme) in [
        ("distillation", distillation.as_str()),
        ("contrast", "scheme={ kind = \"contrast\", queue_length = 16 }"),
        ("soft", soft.as_str()),
        // From the second epoch on the balanced head sees stored features.
        ("breadcrumb", "scheme={ kind = \"breadcrumb\", features_per_class = 1 }"),
    ] {
        // An epoch has five steps, and a checkpoint at its end.
        for [few, more] in [[1, 4], [6, 9]] {
            let reads = |steps: u64| {
                let length = format!("iterations={steps}");
                run(&format!("{name}-{steps}"), &[scheme, "epochs=none", length.as_str()])
            };
            let (before, after) = (reads(few), reads(more));
            assert!(before > 2, "the evaluation and the checkpoint read too: {before}");
            assert_eq!(after, before, "{name}, steps {few} to {more}");
        }
    }
}
