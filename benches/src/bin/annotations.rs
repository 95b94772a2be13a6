//! Time and peak memory of reading a COCO or LVIS file, beside Python's.
//!
//! `cargo run --release -p longtail-bench --bin annotations -- FILE --peer PYTHON`
//!
//! The peer is `json.load` followed by the indexing of `lvis.LVIS` (with `--coco`, of
//! `pycocotools.coco.COCO`). Each reading is a process of its own, since peak memory is one number
//! a process; both sides in turn, several rounds, the file in the page cache.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use longtail_data::{DetectionDataset, ReadOptions};

#[derive(Parser)]
struct Options {
    /// The annotation file.
    file: PathBuf,
    /// Python with lvis and pycocotools; without it only our own numbers are printed.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// The peer is pycocotools instead of lvis.
    #[arg(long)]
    coco: bool,
    /// Rounds; each runs both sides once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Reads once and prints seconds and bytes: one process of a round.
    #[arg(long, hide = true)]
    once: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if options.once {
        let start = Instant::now();
        let set = DetectionDataset::read_coco(&options.file, &ReadOptions::default().lenient())?;
        let seconds = start.elapsed().as_secs_f64();
        println!("{} images, {} annotations", set.num_images(), set.num_annotations());
        println!("{seconds} {}", peak_bytes()?);
        return Ok(());
    }
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let mut ours = Command::new(std::env::current_exe()?);
        let ours = measure(ours.arg(&options.file).arg("--once"))?;
        print!("round {round}: ours {:.2} s, {:.0} MB", ours[0], ours[1] / 1e6);
        if let Some(python) = &options.peer {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/annotations.py");
            let form = if options.coco { "coco" } else { "lvis" };
            let theirs = measure(Command::new(python).arg(script).arg(form).arg(&options.file))?;
            print!("; Python {:.2} s, {:.0} MB", theirs[0], theirs[1] / 1e6);
            ratios.push([theirs[0] / ours[0], ours[1] / theirs[1]]);
        }
        println!();
    }
    let median = |what: usize| {
        let mut values: Vec<f64> = ratios.iter().map(|ratio| ratio[what]).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    if let (Some(speed), Some(memory)) = (median(0), median(1)) {
        println!("median: {speed:.1} times as fast, {memory:.2} of the peak memory");
    }
    Ok(())
}

/// Seconds and bytes that a process prints.
fn measure(command: &mut Command) -> Result<[f64; 2]> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    <[f64; 2]>::try_from(numbers).ok().with_context(|| format!("expected two numbers: {line:?}"))
}

/// Peak resident memory of this process (Linux).
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
    Ok(1024 * kilobytes.parse::<u64>()?)
}
