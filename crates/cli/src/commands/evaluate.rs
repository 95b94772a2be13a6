//! `longtail evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use longtail::training::evaluate;

/// Options of `evaluate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    run: PathBuf,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of the run's recipe, for example `--set dataset.source.root=DIR`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Also writes the report and its plots into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = longtail::device(&args.device)?;
    let report = evaluate(&args.run, &args.set, &device)?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        report.write(out)?;
    }
    if args.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.table());
    }
    Ok(ExitCode::SUCCESS)
}
