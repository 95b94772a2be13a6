//! `longtail serve` under load, under bad requests, and stopped under load.
//!
//! `cargo build --release -p longtail-cli`, then
//! `cargo run --release -p longtail-bench --bin serve_load -- --seconds 60 --clients 32 --bad 10000`
//!
//! Starts the service on the loopback interface with a tiny detector that it trains first (or with
//! `--run`). Every answer under load is compared, byte by byte, with that of the same image alone.
//! Ends with an error if an answer is wrong or lost, or a bad request is not refused.

#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use longtail_bench::serve_load::{
    Load, LoadResult, ServerProcess, TINY_RECIPE, answers_alone, bad_requests, run_clients,
    sample_images,
};

#[derive(Parser)]
struct Options {
    /// The program `longtail`. Default: beside this one.
    #[arg(long)]
    longtail: Option<PathBuf>,
    /// Run folder. Default: a tiny detector, trained first.
    #[arg(long)]
    run: Option<PathBuf>,
    /// Seconds of load.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Clients at a time.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Bad requests, of all kinds in turn.
    #[arg(long, default_value_t = 10_000)]
    bad: usize,
    /// Different images.
    #[arg(long, default_value_t = 16)]
    images: usize,
}

const TARGET: &str = "/predict?min_score=0";
const MAX_BODY: usize = 1 << 20;
/// Longer than the timeouts that the service is started with.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bad requests at a time.
const BAD_THREADS: usize = 64;
/// Bad requests before memory is looked at for the first time.
const WARM_UP: usize = 1000;

fn main() -> Result<()> {
    let options = Options::parse();
    let beside = std::env::current_exe()?.with_file_name("longtail");
    let longtail = options.longtail.clone().unwrap_or(beside);
    ensure!(longtail.exists(), "no {}; build it with -p longtail-cli", longtail.display());
    let folder = std::env::temp_dir().join(format!("serve_load.{}", std::process::id()));
    let run = match &options.run {
        Some(run) => run.clone(),
        None => train(&longtail, &folder)?,
    };
    let result = measure(&options, &longtail, &run);
    if options.run.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    result
}

fn train(longtail: &Path, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("tiny.toml"), TINY_RECIPE)?;
    let mut command = Command::new(longtail);
    command.args(["train", "tiny.toml", "--quiet", "--out", "run"]).current_dir(folder);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(folder.join("run"))
}

fn measure(options: &Options, longtail: &Path, run: &Path) -> Result<()> {
    let images = sample_images(options.images)?;
    let limits = ["--max-body", "1048576", "--read-timeout-s", "1", "--timeout-s", "30"];
    let server = ServerProcess::start(longtail, run, &limits).context("no service")?;
    let address = server.address();
    let expected = answers_alone(address, TARGET, &images).map_err(anyhow::Error::msg)?;
    let clients = options.clients;
    let load = Load {
        address,
        target: TARGET,
        images: &images,
        expected: &expected,
        clients,
        patience: PATIENCE,
    };
    memory("before", &server);

    let start = Instant::now();
    let result = load_for(&load, options.seconds, || Ok(()))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{clients} clients for {seconds:.0} s: {}", line(&result));
    println!("{:.0} answers/s", result.right as f64 / seconds);
    memory("after the load", &server);
    check(&result)?;

    bad_requests(address, &images[0], WARM_UP.min(options.bad), BAD_THREADS, MAX_BODY, PATIENCE);
    memory("before the bad requests", &server);
    let start = Instant::now();
    let results = bad_requests(address, &images[0], options.bad, BAD_THREADS, MAX_BODY, PATIENCE);
    let seconds = start.elapsed().as_secs_f64();
    println!("{} bad requests in {seconds:.0} s", options.bad);
    println!("| kind | sent | refused | dropped | neither |\n|---|---|---|---|---|");
    for kind in &results {
        let (name, sent, wrong) = (kind.kind, kind.sent, kind.num_wrong);
        println!("| {name:?} | {sent} | {} | {} | {wrong} |", kind.refused, kind.dropped);
    }
    memory("after the bad requests", &server);
    if let Some(kind) = results.iter().find(|kind| kind.num_wrong > 0) {
        bail!("{:?} is answered by {:?}", kind.kind, kind.wrong);
    }
    let again = answers_alone(address, TARGET, &images).map_err(anyhow::Error::msg)?;
    ensure!(again == expected, "the answers have changed");

    let result = load_for(&load, 3.0, || {
        server.terminate()?;
        thread::sleep(Duration::from_millis(1500));
        Ok(())
    })?;
    println!("stopped under load: {}, {} closed or refused", line(&result), result.closed);
    let (is_success, said) = server.wait(PATIENCE)?;
    print!("{said}");
    ensure!(is_success && said.contains(", 0 abandoned"), "the service did not end well");
    check(&result)
}

/// Load for some seconds and while `last` runs.
fn load_for(
    load: &Load<'_>,
    seconds: f64,
    last: impl FnOnce() -> Result<()>,
) -> Result<LoadResult> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = scope.spawn(|| run_clients(load, &stop));
        thread::sleep(Duration::from_secs_f64(seconds));
        let done = last();
        stop.store(true, Ordering::Relaxed);
        let result = clients.join().map_err(|_| anyhow::anyhow!("a client panicked"));
        done.and(result)
    })
}

fn line(result: &LoadResult) -> String {
    let [half, most, worst] = [0.5, 0.95, 0.99].map(|share| result.percentile(share));
    let LoadResult { right, wrong, lost, busy, .. } = result;
    format!(
        "{right} right, {wrong} wrong, {lost} lost, {busy} busy; \
         p50 {half:.0} ms, p95 {most:.0} ms, p99 {worst:.0} ms"
    )
}

fn memory(when: &str, server: &ServerProcess) {
    match server.resident_bytes() {
        Some(bytes) => println!("memory {when}: {} MiB", bytes >> 20),
        None => println!("memory {when}: not measured; the system does not tell"),
    }
}

fn check(result: &LoadResult) -> Result<()> {
    let LoadResult { wrong, lost, example, .. } = result;
    ensure!(wrong + lost == 0, "{wrong} wrong and {lost} lost answers: {example:?}");
    Ok(())
}
