//! `longtail train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use longtail::training::{
    AnyRecipe, INTERRUPTED_EXIT_CODE, Outcome, ProgressMode, TrainOptions, stop_on_interrupt,
    train, train_classifier, train_detector,
};
use serde_json::json;

/// Options of `train`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Recipe file (TOML); its key `task` says whether a classifier or a detector is trained.
    recipe: PathBuf,
    /// Device: flex, ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda, rocm; `cuda:1` is the second.
    /// Several, `cuda:0,cuda:1`, share every batch. `remote:ws://HOST:PORT` is that of a server.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of the recipe, for example `--set optimizer.lr=0.05`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run folder. Default: `runs/` and the recipe's file name.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Goes on from the last checkpoint of the run folder.
    #[arg(long)]
    resume: bool,
    /// Prints the recipe with every default filled in, and leaves.
    #[arg(long)]
    print: bool,
    /// Shows no progress.
    #[arg(long)]
    quiet: bool,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let recipe = AnyRecipe::load(&args.recipe, &args.set)?;
    if args.print {
        print!("{}", recipe.to_toml());
        return Ok(ExitCode::SUCCESS);
    }
    let mut devices = longtail::devices(&args.device)?;
    let device = devices.remove(0);
    let out = args.out.unwrap_or_else(|| {
        Path::new("runs").join(args.recipe.file_stem().unwrap_or(args.recipe.as_os_str()))
    });
    let mut options = TrainOptions::new(&out);
    options.resume = args.resume;
    options.replicas = devices;
    options.stop = stop_on_interrupt()?;
    if args.quiet {
        options.progress = ProgressMode::Quiet;
    }
    let step = match recipe {
        AnyRecipe::Classification(recipe) => match train(&recipe, &device, &options)? {
            Outcome::Finished(report) if args.json => return finished(&report.json()?, None),
            Outcome::Finished(report) => return finished(&report.table(), Some(&out)),
            Outcome::Interrupted { step } => step,
        },
        AnyRecipe::Classifier(recipe) => match train_classifier(&recipe, &device, &options)? {
            Outcome::Finished(report) if args.json => return finished(&report.json()?, None),
            Outcome::Finished(report) => return finished(&report.table(), Some(&out)),
            Outcome::Interrupted { step } => step,
        },
        AnyRecipe::Detection(recipe) => match train_detector(&recipe, &device, &options)? {
            Outcome::Finished(result) if args.json => return finished(&result.json()?, None),
            Outcome::Finished(result) => return finished(&result.table(), Some(&out)),
            Outcome::Interrupted { step } => step,
        },
    };
    if args.json {
        println!("{}", json!({ "interrupted_at_step": step, "out": out }));
    } else {
        println!("stopped after step {step}; the same command with --resume goes on");
    }
    Ok(ExitCode::from(INTERRUPTED_EXIT_CODE))
}

fn finished(text: &str, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    println!("{text}");
    if let Some(out) = out {
        if let Ok(list) = std::fs::read_to_string(out.join("left_out.txt")) {
            let num_problems = list.lines().count();
            println!("\n{num_problems} annotations were left out: see left_out.txt");
        }
        println!("\nrun folder: {}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}
