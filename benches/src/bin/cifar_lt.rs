//! The results table of long-tailed CIFAR-10: trains recipes over seeds, one after the other, and
//! prints one table with mean and spread. Runs that are already finished are not trained again, and
//! an interrupted one goes on.
//!
//! ```text
//! cargo run --release -p longtail-bench --bin cifar_lt -- \
//!     --data data/cifar10 --out runs/cifar_lt --seeds 0,1 recipes/cifar10-lt-*.toml
//! ```
#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use longtail::eval::{ClassificationReport, Comparison};
use longtail::training::{Outcome, ProgressMode, Recipe, TrainOptions, train};

/// Trains recipes over seeds and prints one table.
#[derive(Parser)]
struct Args {
    /// Recipes, the baseline first.
    #[arg(required = true)]
    recipes: Vec<PathBuf>,
    /// Folder with `train/CLASS/IMAGE` and `test/CLASS/IMAGE`.
    #[arg(long)]
    data: PathBuf,
    /// Folder of the runs and of the comparison.
    #[arg(long)]
    out: PathBuf,
    /// Seeds, each one run per recipe.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Device.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of every recipe.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = longtail::device(&args.device)?;
    let mut reports = Vec::new();
    for seed in &args.seeds {
        for path in &args.recipes {
            let root = format!("dataset.source.root={}", args.data.display());
            let overrides = [&args.set[..], &[root, format!("seed={seed}")]].concat();
            let recipe = Recipe::load(path, &overrides)?;
            let stem = path.file_stem().context("a recipe is a file")?.to_string_lossy();
            let out = args.out.join(format!("{stem}-seed{seed}"));
            let finished = out.join("report.json");
            if finished.exists() {
                reports.push(ClassificationReport::read(&finished)?);
                continue;
            }
            let mut options = TrainOptions::new(&out);
            (options.resume, options.progress) = (true, ProgressMode::Lines);
            let start = Instant::now();
            match train(&recipe, &device, &options)? {
                Outcome::Finished(report) => reports.push(*report),
                Outcome::Interrupted { step } => bail!("stopped after step {step}"),
            }
            println!("{}: {:.0} s", out.display(), start.elapsed().as_secs_f64());
        }
    }
    // The baseline first, however the seeds were ordered.
    let comparison = Comparison::new(&reports, 3)?;
    comparison.write(&args.out, "CIFAR-10-LT, imbalance 100")?;
    println!("\n{}", comparison.markdown());
    Ok(())
}
