//! Several methods on one data set under one budget, in one table: `longtail compare` from a program.
//!
//! A method is what it changes in the recipe. Recipes that agree in their first stage share it.
//!
//! ```text
//! cargo run --release -p compare_methods                  # the embedded synthetic set
//! cargo run --release -p compare_methods -- photos        # photos/train/CLASS/*.jpg, photos/test/..
//! ```
//!
//! Without arguments: one to two minutes on two cores. Images of a folder are 32 × 32 pixels here;
//! `dataset.long_tail = { imbalance = 100 }` in the recipe cuts a balanced set to a tail. Stopped at
//! any moment, the same command goes on; finished runs in `runs/compare_methods` are not trained again.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use longtail::training::{AnyRecipe, Outcome, TrainOptions, compare};

/// What all methods share.
const RECIPE: &str = r#"
    batch_size = 64
    epochs = 20
    model.backbone = "cifar-resnet20"
    optimizer = { kind = "sgd", lr = 0.1, nesterov = true, weight_decay = 5e-4 }
    schedule.warmup = { epochs = 2 }
    evaluation.every_epochs = 0
"#;

/// Name, and what the method changes; the first is the baseline.
const METHODS: [(&str, &[&str]); 4] = [
    ("cross-entropy", &[]),
    ("balanced-softmax", &["loss.method=balanced-softmax"]),
    ("crt", &["stage_two.method=crt", "stage_two.training.batch_size=64"]),
    ("tau-norm", &["stage_two.method=tau-norm", "stage_two.tau.fixed=1.0"]),
];

fn main() -> anyhow::Result<()> {
    let source = match std::env::args().nth(1) {
        Some(folder) => format!("{{ kind = 'class-folders', root = '{folder}' }}"),
        None => "{ kind = 'synthetic' }".to_string(),
    };
    let text = format!("{RECIPE}\ndataset.source = {source}");
    let mut recipes = Vec::new();
    for (name, changes) in METHODS {
        recipes.push((name.to_string(), AnyRecipe::parse(name, &text, changes)?));
    }
    let device = longtail::device("flex")?; // or "wgpu", "cuda" .., built with its feature
    let options = TrainOptions::new("runs/compare_methods");
    if let Outcome::Finished(comparison) = compare(&recipes, &[0, 1], &device, &options)? {
        comparison.write(&options.out, "Methods")?;
        println!("{}", comparison.table());
    }
    Ok(())
}
