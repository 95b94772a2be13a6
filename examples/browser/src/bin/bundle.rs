//! Writes what the page loads: the card and the weights of a finished run, and example images.
//!
//! ```text
//! cargo run --release -p browser --bin bundle -- --run runs/demo/balanced-sigmoid --out target/web
//! ```
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use browser::ModelCard;
use clap::Parser;
use longtail::data::{DetectionDataset, RgbImage};
use longtail::training::{TrainedDetector, write_png};

#[derive(Parser)]
struct Args {
    /// The run folder of a detector, or one of its checkpoints.
    #[arg(long)]
    run: PathBuf,
    /// Folder of the page.
    #[arg(long)]
    out: PathBuf,
    /// Larger images are made smaller before the network sees them.
    #[arg(long, default_value_t = 640)]
    max_side: usize,
    /// How many validation images become examples.
    #[arg(long, default_value_t = 6)]
    examples: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let trained = TrainedDetector::load(&args.run, &[""; 0], &longtail::device("flex")?)?;
    let recipe = trained.recipe();
    fs::create_dir_all(args.out.join("examples"))
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    let val = recipe.dataset.load_val(trained.classes())?;
    let card = ModelCard {
        name: recipe.name().to_owned(),
        model: recipe.model.clone(),
        loss: recipe.final_loss().clone(),
        calibration: recipe.calibration,
        counts: trained.counts().clone(),
        classes: trained.classes().clone(),
        preprocess: recipe.transforms.preprocess,
        padding: recipe.batches.padding.clone(),
        max_side: args.max_side,
        examples: examples(&val, args.examples, &args.out)?,
    };
    trained.detector().save_weights(args.out.join("model.safetensors"))?;
    let path = args.out.join("model.json");
    fs::write(&path, serde_json::to_string(&card)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} classes, {} examples", card.classes.len(), card.examples.len());
    Ok(())
}

/// Writes some images with many objects, and before them a grid of them as one larger image.
fn examples(val: &DetectionDataset, count: usize, out: &Path) -> anyhow::Result<Vec<String>> {
    let mut order: Vec<usize> = (0..val.num_images().min(50)).collect();
    order.sort_by_key(|&index| Reverse(val.box_instances(index).len()));
    order.truncate(count);
    let images = order.into_iter().map(|index| val.load(index));
    let mut images: Vec<RgbImage> = images.collect::<Result<_, _>>()?;
    images.splice(..0, grid(&images, 3));
    let mut names = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let name = format!("examples/{}.png", index + 1);
        write_png(&out.join(&name), image)?;
        names.push(name);
    }
    Ok(names)
}

/// Images of one size in full rows of `columns`; `None` for fewer, or of several sizes.
fn grid(images: &[RgbImage], columns: usize) -> Option<RgbImage> {
    let (first, rows) = (images.first()?, images.len() / columns);
    let [width, height] = [first.width(), first.height()];
    let is_even = images.iter().all(|image| [image.width(), image.height()] == [width, height]);
    if rows == 0 || !is_even {
        return None;
    }
    let mut pixels = Vec::with_capacity(3 * width * columns * height * rows);
    for row in images.chunks_exact(columns) {
        for y in 0..height {
            let line = 3 * width * y..3 * width * (y + 1);
            row.iter().for_each(|image| pixels.extend_from_slice(&image.pixels()[line.clone()]));
        }
    }
    RgbImage::new(width * columns, height * rows, pixels)
}
