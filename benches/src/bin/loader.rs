//! Images per second of the loader beside torchvision's `DataLoader`.
//!
//! `cargo run --release -p longtail-bench --bin loader -- --peer PYTHON --cifar DIR --photos DIR`
//!
//! Both read the same folders of JPEG files with the same transforms and number of workers, in
//! turn, several rounds. `cifar`: crop from padding, flip, normalise. `photos`: random resized crop
//! to 224, flip, normalise. The decoded-image cache is off unless a line says otherwise.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use longtail_data::{ImageDataset, Loader, LoaderConfig, PipelineConfig, Preset, SamplerConfig};

#[derive(Parser)]
struct Options {
    /// Python with torch and torchvision; without it only our own numbers are printed.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Class folders of 32 x 32 JPEG files.
    #[arg(long)]
    cifar: Option<PathBuf>,
    /// Class folders of larger JPEG files.
    #[arg(long)]
    photos: Option<PathBuf>,
    /// Worker threads, or processes of the peer.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Rounds; each runs both sides once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per side and round, at least.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

struct Case {
    name: &'static str,
    preset: Preset,
    batch_size: usize,
    /// Times that the list of files is repeated, so that an epoch is long enough.
    repeats: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let cifar = Case { name: "cifar", preset: Preset::Cifar, batch_size: 128, repeats: 1 };
    let photos = Case { name: "imagenet", preset: Preset::Imagenet, batch_size: 64, repeats: 10 };
    for (case, folder) in [(cifar, &options.cifar), (photos, &options.photos)] {
        if let Some(folder) = folder {
            compare(&case, folder, &options)?;
        }
    }
    Ok(())
}

fn compare(case: &Case, folder: &Path, options: &Options) -> Result<()> {
    println!("{} from {}, {} workers, images/s", case.name, folder.display(), options.workers);
    let plain = loader(case, folder, options.workers, 0)?;
    let cached = loader(case, folder, options.workers, 1 << 30)?;
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let ours = images_per_second(&plain, options.seconds)?;
        let kept = images_per_second(&cached, options.seconds)?;
        print!("round {round}: ours {ours:.0}, with cache {kept:.0}");
        if let Some(python) = &options.peer {
            let theirs = peer(python, case, folder, options)?;
            print!(", torchvision {theirs:.0}, ratio {:.2}", ours / theirs);
            ratios.push(ours / theirs);
        }
        println!();
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("median ratio {median:.2}");
    }
    Ok(())
}

fn loader(case: &Case, folder: &Path, workers: usize, cache_bytes: usize) -> Result<Loader> {
    let dataset = ImageDataset::from_folders(folder)?;
    let indices: Vec<usize> = (0..case.repeats).flat_map(|_| 0..dataset.len()).collect();
    let dataset = Arc::new(dataset.subset(&indices)?);
    let config = PipelineConfig { preset: case.preset, ..Default::default() };
    let (batch_size, seed) = (case.batch_size, 1);
    let loader_config =
        LoaderConfig { batch_size, workers, seed, cache_bytes, ..Default::default() };
    let sampler = SamplerConfig::InstanceBalanced;
    Ok(Loader::new(dataset, config.train_pipeline()?, sampler, loader_config)?)
}

/// Whole epochs after a first one, until the time is up.
fn images_per_second(loader: &Loader, seconds: u64) -> Result<f64> {
    for batch in loader.epoch(0, 0) {
        batch?;
    }
    let (start, mut images, mut epoch) = (Instant::now(), 0, 1);
    while start.elapsed().as_secs() < seconds {
        for batch in loader.epoch(epoch, 0) {
            images += batch?.len();
        }
        epoch += 1;
    }
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

fn peer(python: &Path, case: &Case, folder: &Path, options: &Options) -> Result<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/loader.py");
    let mut command = Command::new(python);
    command.arg(script).arg(case.name).arg(folder);
    command.args(
        [options.workers as u64, options.seconds, case.repeats as u64].map(|n| n.to_string()),
    );
    let output = command.output().with_context(|| format!("cannot run {}", python.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the peer failed: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("the peer printed {text:?}"))
}
