//! `longtail predict`.

use std::path::PathBuf;
use std::process::ExitCode;

use longtail::training::{TrainedModel, predict};

/// Options of `predict`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    #[arg(long)]
    run: PathBuf,
    /// JPEG or PNG images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Classes shown per image.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = longtail::device(&args.device)?;
    let model = TrainedModel::load(&args.run, &[""; 0], &device)?;
    let predictions = predict(&model, &args.images, args.top)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&predictions)?);
        return Ok(ExitCode::SUCCESS);
    }
    for prediction in predictions {
        let classes = prediction.classes.iter();
        let classes = classes.map(|class| format!("{} {:.3}", class.name, class.score));
        let classes = classes.collect::<Vec<_>>().join(", ");
        println!("{}: {classes}", prediction.path.display());
    }
    Ok(ExitCode::SUCCESS)
}
