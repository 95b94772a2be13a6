//! `longtail demo classify`.

use std::process::ExitCode;

use longtail::eval::Comparison;
use longtail::training::{
    INTERRUPTED_EXIT_CODE, Outcome, Recipe, TrainOptions, stop_on_interrupt, train,
};

use super::Options;

/// The recipe of both runs; only the loss differs.
const RECIPE: &str = include_str!("../../demo_classify.toml");

/// The losses compared: title and method.
const LOSSES: [(&str, &str); 2] =
    [("cross-entropy", "cross-entropy"), ("Balanced Softmax", "balanced-softmax")];

/// How many of the most frequent and of the rarest classes get columns of their own.
const NUM_AT_ENDS: usize = 3;

pub(super) fn run(demo: &Options) -> anyhow::Result<ExitCode> {
    let device = longtail::device(&demo.device)?;
    let out = demo.out();
    let stop = stop_on_interrupt()?;
    let mut reports = Vec::new();
    for (title, method) in LOSSES {
        let mut overrides = vec![format!("loss.method={method}"), format!("name={title}")];
        overrides.extend_from_slice(&demo.set);
        let recipe = Recipe::parse("the demo's recipe", RECIPE, &overrides)?;
        if reports.is_empty() {
            let data = recipe.dataset.load()?;
            println!("The embedded training set:\n\n{}\n", data.train.class_counts()?);
        }
        println!("training with {title} ..");
        let mut options = TrainOptions::new(out.join(method));
        options.stop = stop.clone();
        options.progress = demo.progress();
        match train(&recipe, &device, &options)? {
            Outcome::Finished(report) => reports.push(*report),
            Outcome::Interrupted { step } => {
                println!("stopped after step {step}");
                return Ok(ExitCode::from(INTERRUPTED_EXIT_CODE));
            }
        }
    }
    let comparison = Comparison::new(&reports, NUM_AT_ENDS)?;
    comparison.write(&out, "The same network, two losses")?;
    println!("\nAccuracy on a balanced test set, in percent:\n\n{}", comparison.table());
    println!("\nPlots and reports: {}", out.display());
    Ok(ExitCode::SUCCESS)
}
