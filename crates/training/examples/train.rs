//! Trains a recipe from code; the command `longtail train` does the same with more comfort.
//!
//! `cargo run --release -p longtail-training --example train -- RECIPE OUT [--resume] [KEY=VALUE..]`

use std::path::Path;
use std::process::ExitCode;

use burn::tensor::Device;
use longtail_training::{Outcome, Recipe, TrainOptions, TrainingError, train};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, out, rest @ ..] = arguments.as_slice() else {
        return fail("expected RECIPE OUT [--resume] [KEY=VALUE..]");
    };
    match run(recipe, out, rest) {
        Ok(summary) => {
            show(&summary);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn run(recipe: &str, out: &str, rest: &[String]) -> Result<String, TrainingError> {
    let overrides: Vec<&String> = rest.iter().filter(|word| *word != "--resume").collect();
    let recipe = Recipe::load(Path::new(recipe), &overrides)?;
    let mut options = TrainOptions::new(out);
    options.resume = overrides.len() < rest.len();
    Ok(match train(&recipe, &Device::default(), &options)? {
        Outcome::Finished(report) => report.table(),
        Outcome::Interrupted { step } => format!("interrupted after step {step}"),
    })
}

#[expect(clippy::print_stdout, reason = "a program")]
fn show(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a program")]
fn fail(text: &str) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::FAILURE
}
