//! `longtail report`.

mod detection;
mod mistakes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use longtail::eval::{
    Gallery, MetricsLog, RunExtras, classification_page, detection_page, write_whole,
};
use longtail::training::{AnyTrained, TrainedDetector, TrainedModel};

use crate::page::{Budget, megabytes};
use mistakes::Mistakes;

/// Options of `report`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    run: PathBuf,
    /// The HTML file to write. Default: `report.html` in the run folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Pictures of each kind of error; for classifiers of each class.
    #[arg(long, default_value_t = 12)]
    pictures: usize,
    /// Errors of one class among those of a kind, for detectors.
    #[arg(long, default_value_t = 3)]
    per_class: usize,
    /// Longer side of a picture in pixels.
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u16).range(1..=1024))]
    side: u16,
    /// Pictures are left out once they take more than this many megabytes.
    #[arg(long, default_value_t = 16.0)]
    max_mb: f64,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of the run's recipe, for example `--set dataset.source.root=DIR`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What galleries need beside the errors.
#[derive(Clone, Copy)]
struct Room {
    pictures: usize,
    side: usize,
    budget: Budget,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let budget = Budget::from_megabytes("--max-mb", args.max_mb)?;
    let room = Room { pictures: args.pictures, side: args.side.into(), budget };
    let folder = if args.run.is_dir() {
        args.run.as_path()
    } else {
        args.run.parent().unwrap_or(Path::new(""))
    };
    let out = args.out.clone().unwrap_or_else(|| folder.join("report.html"));
    let device = longtail::device(&args.device)?;
    let html = match AnyTrained::load(&args.run, &args.set, &device)? {
        AnyTrained::Classification(model) => classifier(&model, folder, room)?,
        AnyTrained::Detection(detector) => self::detector(&detector, folder, args, room)?,
    };
    write_whole(&out, html.as_bytes())?;
    println!("{}: {}", out.display(), megabytes(html.len()));
    Ok(ExitCode::SUCCESS)
}

fn classifier(model: &TrainedModel, folder: &Path, room: Room) -> anyhow::Result<String> {
    let test = model.recipe().dataset.load_test(model.classes())?;
    let mut mistakes = Mistakes::new(model.classes().len(), room.pictures.min(6));
    let mut seen = |index: usize, label: usize, scores: &[f32]| mistakes.add(index, label, scores);
    let report = model.evaluate_each(test.clone(), &mut seen)?;
    let mut extras = extras(folder, &report.name)?;
    let order = report.by_frequency().into_iter().rev();
    mistakes.galleries(&test, &report, order, room, &mut extras);
    Ok(classification_page(&report, &extras)?)
}

fn detector(
    detector: &TrainedDetector,
    folder: &Path,
    args: &Args,
    room: Room,
) -> anyhow::Result<String> {
    let val = detector.recipe().dataset.load_val(detector.classes())?;
    let mut errors = detection::Errors::new(&val, detector.recipe(), args.per_class);
    let mut seen = |index: usize, found: &[longtail::types::Detection]| errors.add(index, found);
    let result = detector.evaluate_each(val.clone(), &mut seen)?;
    let mut extras = extras(folder, &result.boxes.name)?;
    errors.galleries(&result.boxes, room, &mut extras);
    Ok(detection_page(&result.boxes, result.masks.as_ref(), &extras)?)
}

/// The training curves, where the folder has a record of the training.
fn extras(folder: &Path, title: &str) -> anyhow::Result<RunExtras> {
    let metrics = folder.join("metrics.jsonl");
    let mut extras = RunExtras::default();
    if metrics.exists() {
        extras.curves = Some(MetricsLog::read(&metrics)?.curves_svg(title)?);
    }
    Ok(extras)
}

/// Adds a gallery, unless it has no picture.
fn add(extras: &mut RunExtras, gallery: Gallery) {
    if !gallery.pictures.is_empty() {
        extras.galleries.push(gallery);
    }
}
