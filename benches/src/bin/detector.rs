//! Time by stage and peak memory of Mask R-CNN beside torchvision, and memory over many iterations.
//!
//! `cargo run --release -p longtail-bench --bin detector -- --peer PYTHON`
//!
//! Sides take turns; medians count, the ratio is against the faster of two peers: torchvision as it
//! is, and with the thresholds of glibc's malloc raised. `--soak 1000` trains a small detector and
//! prints resident memory at each quarter instead.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use longtail_bench::detector::{
    DetectorCase, DetectorOptions, DetectorRow, measure, peak_of, soak,
};

#[derive(Parser)]
struct Options {
    /// Python with torchvision; without it only our own numbers are printed.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Times that each side runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads of each side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// One case instead of all.
    #[arg(long)]
    only: Option<DetectorCase>,
    /// Leaves out peak memory, which runs every side once more.
    #[arg(long)]
    no_memory: bool,
    /// Trains a small detector for so many iterations and prints resident memory.
    #[arg(long)]
    soak: Option<u64>,
    /// Prints the peak memory of a few steps: one process of a measurement.
    #[arg(long, hide = true)]
    memory_of: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let (Some(folder), Some(case)) = (&options.memory_of, options.only) {
        println!("{}", peak_of(case, folder, options.threads)?);
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global()?;
    if let Some(iterations) = options.soak {
        return print_soak(iterations);
    }
    let cases = match options.only {
        Some(case) => vec![case],
        None => DetectorCase::value_variants().to_vec(),
    };
    let with_memory = !options.no_memory;
    let options = DetectorOptions {
        device: longtail::device("flex")?,
        peer: options.peer,
        peer_device: "cpu".into(),
        rounds: options.rounds,
        threads: options.threads,
        cases,
        with_memory,
    };
    let rows = measure(&options, &mut |line| println!("{line}"))?;
    println!();
    print_rows(&rows);
    Ok(())
}

fn print_rows(rows: &[DetectorRow]) {
    println!(
        "{:<10} {:<12} {:>9} {:>9} {:>9} {:>6}",
        "case", "stage", "ours ms", "peer ms", "raised", "ratio"
    );
    for row in rows {
        print!("{:<10} {:<12} {:>9.2}", row.case.to_string(), row.stage, row.ours.median_ms);
        if let (Some(peer), Some(ratio)) = (row.peer, row.ratio()) {
            let [plain, raised] = peer.map(|times| times.median_ms);
            print!(" {plain:>9.2} {raised:>9.2} {ratio:>6.2}");
        }
        println!();
    }
    for row in rows {
        let Some(ours) = row.ours_bytes else { continue };
        print!("{}: peak memory {:.0} MB", row.case, ours as f64 / 1e6);
        if let Some(peer) = row.peer_bytes {
            print!(", peer {:.0} MB, ratio {:.2}", peer as f64 / 1e6, ours as f64 / peer as f64);
        }
        println!();
    }
}

fn print_soak(iterations: u64) -> Result<()> {
    let points = soak(iterations)?;
    for (step, bytes) in &points {
        println!("after {step} iterations: {:.1} MB resident", *bytes as f64 / 1e6);
    }
    let [_, (_, half), _, (_, end)] = points.as_slice() else {
        println!("skipped: this system does not tell the resident memory of a process");
        return Ok(());
    };
    let growth = *end as f64 / *half as f64 - 1.0;
    println!("growth over the last half: {:.2} %", 100.0 * growth);
    if growth >= 0.02 {
        bail!("resident memory grew by 2 % or more");
    }
    Ok(())
}
