//! `longtail weights`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use longtail::models::{BackboneConfig, ClassifierConfig, LoadScope, inspect};
use longtail::training::AnyTrained;
use serde_json::json;

/// Commands of `weights`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check a PyTorch `.pth` or `.safetensors` file against an architecture, and write it as
    /// safetensors.
    Import {
        /// The file.
        file: PathBuf,
        /// Architecture: resnet18 to resnet152, resnext50-32x4d, resnext101-32x8d, cifar-resnet20 ..
        #[arg(long)]
        backbone: String,
        /// Classes of the file's classifier.
        #[arg(long)]
        num_classes: usize,
        /// The safetensors file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write a run's model as safetensors with the names that PyTorch uses.
    Export {
        /// Run folder, or one of its checkpoints.
        run: PathBuf,
        /// The safetensors file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// List the tensors of a `.pth` or `.safetensors` file.
    Inspect {
        /// The file.
        file: PathBuf,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Import { file, backbone, num_classes, out } => {
            let backbone: BackboneConfig = backbone.parse()?;
            if num_classes == 0 {
                bail!("--num-classes is 0; a classifier has at least 1");
            }
            let device = longtail::device("flex").or_else(|_| longtail::device("ndarray"))?;
            let config = ClassifierConfig::new(backbone);
            let mut classifier = config.init(num_classes, None, 0, &device)?;
            let report = classifier.load_weights(&file, LoadScope::All)?;
            classifier.save_weights(&out)?;
            let (applied, unused) = (report.applied.len(), report.unused.len());
            println!("{}: {applied} tensors, {unused} not needed", out.display());
        }
        Command::Export { run, out } => {
            let device = longtail::device("flex").or_else(|_| longtail::device("ndarray"))?;
            match AnyTrained::load(&run, &[""; 0], &device)? {
                AnyTrained::Classification(model) => model.model().save_weights(&out)?,
                AnyTrained::Detection(detector) => detector.detector().save_weights(&out)?,
            }
            println!("{}", out.display());
        }
        Command::Inspect { file, json } => {
            let tensors = inspect(&file).with_context(|| format!("in {}", file.display()))?;
            if json {
                let row = |(name, shape, dtype): &longtail::models::WeightEntry| json!({ "name": name, "shape": shape, "dtype": format!("{dtype:?}") });
                let rows: Vec<_> = tensors.iter().map(row).collect();
                println!("{}", serde_json::to_string_pretty(&rows)?);
            } else {
                for (name, shape, dtype) in &tensors {
                    println!("{name:<48} {:<20} {dtype:?}", format!("{shape:?}"));
                }
                println!("{} tensors", tensors.len());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
