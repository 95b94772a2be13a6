//! `longtail demo`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use longtail::eval::Comparison;
use longtail::training::{
    INTERRUPTED_EXIT_CODE, Outcome, ProgressMode, Recipe, TrainOptions, stop_on_interrupt, train,
};

/// The recipe of both runs; only the loss differs.
const RECIPE: &str = include_str!("../demo.toml");

/// The losses compared: title and method.
const LOSSES: [(&str, &str); 2] =
    [("cross-entropy", "cross-entropy"), ("Balanced Softmax", "balanced-softmax")];

/// How many of the rarest classes get a column of their own.
const NUM_RAREST: usize = 3;

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Folder of the two runs and their comparison. Default: the first free of `runs/demo`,
    /// `runs/demo-2` ..
    #[arg(long)]
    out: Option<PathBuf>,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = longtail::device(&args.device)?;
    let out = args.out.unwrap_or_else(free_folder);
    let stop = stop_on_interrupt()?;
    let mut reports = Vec::new();
    for (title, method) in LOSSES {
        let overrides = [format!("loss.method={method}"), format!("name={title}")];
        let recipe = Recipe::parse("the demo's recipe", RECIPE, &overrides)?;
        if reports.is_empty() {
            let data = recipe.dataset.load()?;
            println!("The embedded training set:\n\n{}\n", data.train.class_counts()?);
        }
        println!("training with {title} ..");
        let mut options = TrainOptions::new(out.join(method));
        options.stop = stop.clone();
        if args.quiet {
            options.progress = ProgressMode::Quiet;
        }
        match train(&recipe, &device, &options)? {
            Outcome::Finished(report) => reports.push(*report),
            Outcome::Interrupted { step } => {
                println!("stopped after step {step}");
                return Ok(ExitCode::from(INTERRUPTED_EXIT_CODE));
            }
        }
    }
    let comparison = Comparison::new(&reports, NUM_RAREST)?;
    comparison.write(&out, "The same network, two losses")?;
    println!("\nAccuracy on a balanced test set, in percent:\n\n{}", comparison.table());
    println!("\nPlots and reports: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

fn free_folder() -> PathBuf {
    let names = (1..).map(|n| if n == 1 { "runs/demo".into() } else { format!("runs/demo-{n}") });
    let mut folders = names.map(PathBuf::from).filter(|folder| !Path::new(folder).exists());
    folders.next().unwrap_or_else(|| "runs/demo".into())
}
