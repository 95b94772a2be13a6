//! `longtail weights`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use longtail::models::{BackboneConfig, ClassifierConfig, LoadScope, WeightSet, inspect};
use longtail::training::AnyTrained;
use serde_json::json;

use crate::fetch::{Download, cache_folder, fetch};

/// Commands of `weights`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Download published weights by name; without a name, list what there is.
    Fetch {
        /// Name of a set, for example `resnet50-imagenet-v1`.
        name: Option<String>,
        /// Folder of the file. Default: `$LONGTAIL_CACHE`, else `longtail` in the user's cache folder.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Another server that has the files under the same names, as `https://host/folder`.
        #[arg(long)]
        mirror: Option<String>,
        /// Shows no progress.
        #[arg(long)]
        quiet: bool,
    },
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

/// The progress of a download on a terminal.
struct Shown {
    is_shown: bool,
    last: Option<u64>,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        Self { is_shown: !quiet && std::io::stderr().is_terminal(), last: None }
    }

    /// Shows a line after every megabyte.
    fn show(&mut self, have: u64, total: Option<u64>) {
        let megabytes = have >> 20;
        if self.is_shown && self.last.replace(megabytes) != Some(megabytes) {
            let total = total.map_or_else(String::new, |total| format!(" of {}", total >> 20));
            eprint!("\r{megabytes}{total} MiB");
        }
    }

    fn finish(&self) {
        if self.last.is_some() && self.is_shown {
            eprintln!();
        }
    }
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Fetch { name: None, .. } => {
            for set in WeightSet::ALL {
                println!("{:<36} {}", set.name, set.url);
            }
        }
        Command::Fetch { name: Some(name), out, mirror, quiet } => {
            let set = WeightSet::named(&name)?;
            let folder = match out {
                Some(out) => out,
                None => cache_folder()?,
            };
            let url = match mirror {
                Some(mirror) => format!("{}/{}", mirror.trim_end_matches('/'), set.file_name()),
                None => set.url.to_string(),
            };
            let path = folder.join(set.file_name());
            let download = Download { url: &url, sha256: set.sha256_prefix() };
            let mut shown = Shown::new(quiet);
            fetch(download, &path, |have, total| shown.show(have, total))?;
            shown.finish();
            println!("{}", path.display());
        }
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
