//! `longtail compare`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use longtail::training::{
    AnyRecipe, INTERRUPTED_EXIT_CODE, Outcome, ProgressMode, TrainOptions, compare,
    stop_on_interrupt,
};

/// Options of `compare`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Recipe files (TOML) of one task; the first is the baseline.
    #[arg(required = true)]
    recipes: Vec<PathBuf>,
    /// Runs of each recipe, with seeds one after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of these seeds.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// One device, named as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of every recipe, for example `--set epochs=2`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the runs and of the comparison. Finished runs in it are not trained again, and an
    /// interrupted one goes on.
    #[arg(long, default_value = "runs/compare")]
    out: PathBuf,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let named = args.recipes.iter().map(|path| {
        let stem = path.file_stem().with_context(|| format!("{} is no file", path.display()))?;
        let recipe = AnyRecipe::load(path, &args.set)?;
        Ok((stem.to_string_lossy().into_owned(), recipe))
    });
    let recipes = named.collect::<anyhow::Result<Vec<_>>>()?;
    let last = args.first_seed.checked_add(args.seeds - 1).context("the seeds are too large")?;
    let seeds: Vec<u64> = (args.first_seed..=last).collect();
    let device = longtail::device(&args.device)?;
    let mut options = TrainOptions::new(&args.out);
    options.stop = stop_on_interrupt()?;
    if args.quiet {
        options.progress = ProgressMode::Quiet;
    }
    match compare(&recipes, &seeds, &device, &options)? {
        Outcome::Finished(comparison) => {
            comparison.write(&args.out, "Comparison")?;
            println!("{}", comparison.table());
            println!("\nruns, tables and plot: {}", args.out.display());
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step } => {
            println!("stopped after step {step} of a run; the same command goes on");
            Ok(ExitCode::from(INTERRUPTED_EXIT_CODE))
        }
    }
}
