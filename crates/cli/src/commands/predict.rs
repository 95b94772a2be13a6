//! `longtail predict`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use longtail::training::{AnyTrained, ImagePrediction, TrainedDetector, TrainedModel, predict};

/// Options of `predict`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    #[arg(long)]
    run: PathBuf,
    /// JPEG or PNG images, or folders of them.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Detectors: writes each image with its detections drawn, and a JSON file beside it, into this
    /// folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Detectors: leaves out detections with a lower score.
    #[arg(long, default_value_t = 0.3)]
    min_score: f32,
    /// Classifiers: classes shown per image.
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    args.images = expanded(&args.images)?;
    let device = longtail::device(&args.device)?;
    match AnyTrained::load(&args.run, &[""; 0], &device)? {
        AnyTrained::Classification(model) => classify(&model, &args)?,
        AnyTrained::Detection(detector) => detect(&detector, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Folders are replaced by the images in them, in the order of their names.
fn expanded(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for path in paths {
        if !path.is_dir() {
            images.push(path.clone());
            continue;
        }
        let place = || path.display().to_string();
        let files = std::fs::read_dir(path).with_context(place)?;
        let mut files: Vec<PathBuf> =
            files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(is_image_ending));
        if files.is_empty() {
            bail!("{}: no JPEG or PNG image in this folder", path.display());
        }
        files.sort();
        images.append(&mut files);
    }
    Ok(images)
}

fn is_image_ending(ending: &std::ffi::OsStr) -> bool {
    ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

fn classify(model: &TrainedModel, args: &Args) -> anyhow::Result<()> {
    if args.out.is_some() {
        bail!("--out draws detections, but {} is a classifier", args.run.display());
    }
    let predictions = predict(model, &args.images, args.top)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&predictions)?);
        return Ok(());
    }
    for prediction in predictions {
        let classes = prediction.classes.iter();
        let classes = classes.map(|class| format!("{} {:.3}", class.name, class.score));
        let classes = classes.collect::<Vec<_>>().join(", ");
        println!("{}: {classes}", prediction.path.display());
    }
    Ok(())
}

fn detect(detector: &TrainedDetector, args: &Args) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        check_names(&args.images)?;
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let mut values = Vec::new();
    for path in &args.images {
        let prediction = detector.predictor().detect_file(path)?.at_least(args.min_score);
        if let Some(out) = &args.out {
            prediction.write(out)?;
        }
        if args.json {
            values.push(prediction.json());
        } else {
            print(&prediction);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&values)?);
    }
    Ok(())
}

fn print(prediction: &ImagePrediction) {
    let found = prediction.detections();
    println!("{}: {} objects", prediction.path().display(), found.len());
    for detection in found {
        let [x1, y1, x2, y2] = detection.bbox.to_array().map(|border| border.round());
        let name = prediction.name(detection);
        println!("  {name} {:.3} [{x1}, {y1}, {x2}, {y2}]", detection.score);
    }
}

/// Refuses two images whose results would go to one file.
fn check_names(images: &[PathBuf]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for path in images {
        let name = Path::new(path.file_stem().unwrap_or_default());
        if !seen.insert(name) {
            bail!("two of the images are named {}; draw them into two folders", name.display());
        }
    }
    Ok(())
}
