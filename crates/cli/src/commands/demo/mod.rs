//! `longtail demo`.

mod classify;
mod detect;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use longtail::training::ProgressMode;

/// Options of `demo`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    options: Options,
}

/// Other demos.
#[derive(Subcommand)]
enum Which {
    /// Train a classifier instead: cross-entropy and Balanced Softmax on drawn shapes.
    Classify(Options),
}

/// Options of every demo.
#[derive(clap::Args)]
struct Options {
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Folder of the runs and their comparison. Default: the first free of `runs/demo`,
    /// `runs/demo-2` ..
    #[arg(long)]
    out: Option<PathBuf>,
    /// Changes a key of the demo's recipe, for example `--set iterations=100`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
}

impl Options {
    fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(free_folder)
    }

    fn progress(&self) -> ProgressMode {
        if self.quiet { ProgressMode::Quiet } else { ProgressMode::Auto }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.which {
        None => detect::run(&args.options),
        Some(Which::Classify(options)) => classify::run(&options),
    }
}

fn free_folder() -> PathBuf {
    let names = (1..).map(|n| if n == 1 { "runs/demo".into() } else { format!("runs/demo-{n}") });
    let mut folders = names.map(PathBuf::from).filter(|folder| !Path::new(folder).exists());
    folders.next().unwrap_or_else(|| "runs/demo".into())
}
