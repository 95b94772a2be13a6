//! `longtail evaluate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use longtail::eval::{
    Benchmark, DetectionReport, DetectionSettings, GroundTruth, ImageDetections, Overlap,
    evaluate_detections, write_detections,
};
use longtail::training::{AnyTrained, DetectionResult, TrainedDetector};
use longtail::types::Detection;

/// Options of `evaluate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    #[arg(required_unless_present = "annotations", conflicts_with = "annotations")]
    run: Option<PathBuf>,
    /// Ground truth in the JSON of COCO or LVIS, to evaluate given detections without a model.
    #[arg(long, requires = "detections")]
    annotations: Option<PathBuf>,
    /// Detections in the JSON of COCO's results.
    #[arg(long, requires = "annotations")]
    detections: Option<PathBuf>,
    /// What is compared, with --annotations.
    #[arg(long, requires = "annotations", default_value = "bbox")]
    iou: Iou,
    /// Whose rules, with --annotations. Default: LVIS where the images name absent classes.
    #[arg(long, requires = "annotations")]
    protocol: Option<Protocol>,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Changes a key of the run's recipe, for example `--set dataset.source.root=DIR`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Classifiers: evaluates on the validation images of the run's recipe instead, to choose
    /// settings by.
    #[arg(long, requires = "run")]
    validation: bool,
    /// Also writes the report and its plots into this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Detectors: also writes all detections into this folder in the JSON of COCO's results,
    /// `bbox.json` and, for a model with masks, `segm.json`.
    #[arg(long, requires = "run")]
    results: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Iou {
    Bbox,
    Segm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    Lvis,
    Coco,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let (Some(annotations), Some(detections)) = (&args.annotations, &args.detections) {
        let report = evaluate_files(annotations, detections, args.iou, args.protocol)?;
        if let Some(out) = &args.out {
            report.write(made(out)?)?;
        }
        println!("{}", if args.json { report.json()? } else { report.table() });
        return Ok(ExitCode::SUCCESS);
    }
    let Some(run) = &args.run else { bail!("give a run, or --annotations and --detections") };
    let device = longtail::device(&args.device)?;
    let text = match AnyTrained::load(run, &args.set, &device)? {
        AnyTrained::Classification(_) if args.results.is_some() => {
            bail!("--results writes detections, but {} is a classifier", run.display())
        }
        AnyTrained::Classification(model) => {
            let report =
                if args.validation { model.evaluate_validation()? } else { model.evaluate()? };
            if let Some(out) = &args.out {
                report.write(made(out)?)?;
            }
            if args.json { report.json()? } else { report.table() }
        }
        AnyTrained::Detection(_) if args.validation => {
            bail!(
                "--validation is for classifiers, but {} is a detector, which is evaluated on \
                 its validation set anyway",
                run.display()
            )
        }
        AnyTrained::Detection(detector) => {
            let result = match &args.results {
                Some(folder) => evaluate_to(&detector, made(folder)?)?,
                None => detector.evaluate()?,
            };
            if let Some(out) = &args.out {
                result.write(made(out)?)?;
            }
            if args.json { result.json()? } else { result.table() }
        }
    };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// Evaluates a detector, and writes its detections into a folder.
fn evaluate_to(detector: &TrainedDetector, folder: &Path) -> anyhow::Result<DetectionResult> {
    let val = detector.recipe().dataset.load_val(detector.classes())?;
    let mut all: Vec<(usize, Vec<Detection>)> = Vec::new();
    let mut seen = |index: usize, found: &[Detection]| all.push((index, found.to_vec()));
    let result = detector.evaluate_each(val.clone(), &mut seen)?;
    let images = all.iter().map(|(index, detections)| {
        let image = val.image(*index);
        ImageDetections { image_id: image.id, size: image.size(), detections }
    });
    let images: Vec<ImageDetections> = images.collect();
    let classes = detector.classes();
    write_detections(&folder.join("bbox.json"), &images, classes, Overlap::Boxes)?;
    if result.masks.is_some() {
        write_detections(&folder.join("segm.json"), &images, classes, Overlap::Masks)?;
    }
    Ok(result)
}

fn evaluate_files(
    annotations: &Path,
    detections: &Path,
    iou: Iou,
    protocol: Option<Protocol>,
) -> anyhow::Result<DetectionReport> {
    let benchmark = match protocol {
        Some(Protocol::Lvis) => Benchmark::Lvis,
        Some(Protocol::Coco) => Benchmark::Coco,
        None => benchmark_of(annotations)?,
    };
    let overlap = match iou {
        Iou::Bbox => Overlap::Boxes,
        Iou::Segm => Overlap::Masks,
    };
    let truth = GroundTruth::read(annotations, benchmark)?;
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let settings = DetectionSettings {
        test_set: name(annotations),
        ..DetectionSettings::new(name(detections), overlap)
    };
    Ok(evaluate_detections(&truth, detections, &settings)?)
}

/// Annotations that name the classes absent from an image are LVIS's.
fn benchmark_of(annotations: &Path) -> anyhow::Result<Benchmark> {
    let failed = || format!("cannot read {}", annotations.display());
    let text = std::fs::read(annotations).with_context(failed)?;
    let field = b"\"neg_category_ids\"";
    let is_lvis = text.windows(field.len()).any(|window| window == field);
    Ok(if is_lvis { Benchmark::Lvis } else { Benchmark::Coco })
}

fn made(folder: &Path) -> anyhow::Result<&Path> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
