//! Objects in your images, drawn: with a detector of your own, or with published COCO weights.
//!
//! ```text
//! cargo run --release -p predict -- --run runs/birds --out drawn heron.jpg
//! cargo run --release -p predict -- --coco mask-rcnn-resnet50-fpn-coco \
//!     --weights maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth --out drawn street.jpg
//! ```
//!
//! For every image, `drawn/NAME.png` and `drawn/NAME.json` with classes, scores, boxes and masks. The
//! weights come by `longtail weights fetch mask-rcnn-resnet50-fpn-coco`.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;
use longtail::models::WeightSet;
use longtail::training::{DetectionPredictor, TrainedDetector};

#[derive(Parser)]
struct Args {
    /// A run folder, or one of its checkpoints.
    #[arg(long, conflicts_with = "coco")]
    run: Option<PathBuf>,
    /// Name of a published set of COCO weights.
    #[arg(long, requires = "weights")]
    coco: Option<String>,
    /// The file of that set.
    #[arg(long, requires = "coco")]
    weights: Option<PathBuf>,
    /// Where drawings and JSON files go.
    #[arg(long, default_value = "drawn")]
    out: PathBuf,
    /// Objects with a lower score are left out.
    #[arg(long, default_value_t = 0.5)]
    min_score: f32,
    /// flex, ndarray, wgpu, cuda ..
    #[arg(long, default_value = "flex")]
    device: String,
    /// JPEG or PNG images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = longtail::device(&args.device)?;
    let trained: TrainedDetector;
    let published: DetectionPredictor;
    let detector = match (&args.run, &args.coco, &args.weights) {
        (Some(run), ..) => {
            trained = TrainedDetector::load(run, &[""; 0], &device)?;
            trained.predictor()
        }
        (_, Some(name), Some(weights)) => {
            published = DetectionPredictor::published(WeightSet::named(name)?, weights, &device)?;
            &published
        }
        _ => bail!("give --run, or --coco and --weights"),
    };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    for path in &args.images {
        let prediction = detector.detect_file(path)?.at_least(args.min_score);
        println!("{}: {} objects", path.display(), prediction.detections().len());
        for detection in prediction.detections() {
            println!("  {} {:.3}", prediction.name(detection), detection.score);
        }
        prediction.write(&args.out)?;
    }
    println!("\ndrawn in {}", args.out.display());
    Ok(())
}
