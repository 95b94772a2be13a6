//! Your own boxes to a trained detector: a folder in the form of Pascal VOC or YOLO.
//!
//! ```text
//! cargo run --release -p detect_your_own -- --yolo birds/data.yaml --out runs/birds
//! cargo run --release -p detect_your_own -- --voc VOC2012 --out runs/voc --iterations 20000 \
//!     --weights resnet50-0676ba61.pth
//! cargo run --release -p predict -- --run runs/birds --out drawn heron.jpg
//! ```
//!
//! The run folder holds weights, metrics, a report with plots, and the recipe, from which `longtail
//! train runs/birds/recipe.toml` would do the same. Without arguments, a small set is drawn and
//! written to `runs/your_own` first: about a minute on two cores, to an AP of 42 % on 8 images.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::path::{Path, PathBuf};

use clap::Parser;
use longtail::data::{SyntheticContents, SyntheticDetectionConfig};
use longtail::training::{
    DetectionRecipe, Outcome, TrainOptions, stop_on_interrupt, train_detector,
};

#[derive(Parser)]
struct Args {
    /// A folder with `JPEGImages`, `Annotations` and `ImageSets/Main/{train,val}.txt`.
    #[arg(long, conflicts_with = "yolo")]
    voc: Option<PathBuf>,
    /// A YAML file with `train`, `val` and `names`.
    #[arg(long)]
    yolo: Option<PathBuf>,
    /// ImageNet weights of a ResNet-50 (`longtail weights fetch resnet50-imagenet-v1`). Without them
    /// a small network starts from random weights.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Where the run goes.
    #[arg(long, default_value = "runs/your_own/run")]
    out: PathBuf,
    /// Optimizer steps.
    #[arg(long, default_value_t = 300)]
    iterations: u64,
    /// flex, ndarray, wgpu, cuda ..
    #[arg(long, default_value = "flex")]
    device: String,
    /// Goes on with a run that was stopped.
    #[arg(long)]
    resume: bool,
}

/// What does not depend on the data. Balanced Sigmoid needs no setting of its own: it reads how often
/// each class occurs.
const RECIPE: &str = r#"
task = "detection"
batch_size = 4
iterations = 100
loss.method = "balanced-sigmoid"
optimizer = { kind = "sgd", lr = 0.01, weight_decay = 1e-4 }
schedule.warmup = { iterations = 50 }
gradient.clip_norm = 10.0

[dataset]
source = { kind = "synthetic" } # replaced below
lenient = true

[model]
kind = "faster-rcnn"
"#;

/// What makes the network small enough to start from random weights on a CPU.
const SMALL: [&str; 6] = [
    "model.backbone={ architecture = \"resnet18\", base_width = 32, frozen_stages = 0, \
     norm = { kind = \"batch\" } }",
    "model.fpn.channels=64",
    "model.rpn.train={ before_nms = 500, after_nms = 200 }",
    "model.rois.per_image=64",
    "model.box_head.layers={ kind = \"two-fc\", width = 256 }",
    "transforms.preprocess.resize={ rule = \"shortest-edge\", min = 160, max = 256 }",
];

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = longtail::device(&args.device)?;
    let mut overrides = vec![format!("iterations={}", args.iterations)];
    overrides.push(match (&args.voc, &args.yolo) {
        (Some(voc), _) => format!("dataset.source={{ kind = \"voc\", root = {voc:?} }}"),
        (_, Some(yolo)) => format!("dataset.source={{ kind = \"yolo\", data = {yolo:?} }}"),
        _ => drawn_set(Path::new("runs/your_own/data"))?,
    });
    match &args.weights {
        Some(weights) => overrides.push(format!("init.path={}", weights.display())),
        None => overrides.extend(SMALL.map(String::from)),
    }
    let recipe = DetectionRecipe::parse("the example's recipe", RECIPE, &overrides)?;
    println!("{}", recipe.dataset.load()?.train.class_counts()?);

    let mut options = TrainOptions::new(&args.out);
    options.resume = args.resume;
    options.stop = stop_on_interrupt()?;
    match train_detector(&recipe, &device, &options)? {
        Outcome::Finished(result) => println!("{}", result.table()),
        Outcome::Interrupted { step } => println!("stopped after step {step}; --resume goes on"),
    }
    Ok(())
}

/// A small set as it might lie on a disk: images and a JSON file for each split.
fn drawn_set(folder: &Path) -> anyhow::Result<String> {
    if !folder.exists() {
        let config = SyntheticDetectionConfig {
            num_classes: 8,
            train_images: 120,
            head_count: 80,
            test_instances: 5,
            ..Default::default()
        };
        config.write(folder, SyntheticContents::ImagesAndAnnotations)?;
    }
    let path = |part: &str| folder.join(part).display().to_string();
    Ok(format!(
        "dataset.source={{ kind = \"coco\", train = {:?}, train_images = {:?}, val = {:?}, \
         val_images = {:?} }}",
        path("annotations/lvis_train.json"),
        path("images/train"),
        path("annotations/lvis_val.json"),
        path("images/val"),
    ))
}
