//! `longtail bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use longtail_bench::{BenchOptions, Record, Report, Side, Suite, run as measure};

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Devices, separated by commas; see `longtail devices`.
    #[arg(long, value_delimiter = ',', default_value = "flex")]
    device: Vec<String>,
    /// Suites, separated by commas: dense-head, losses, roi-align, nms, conv, backbone, loader,
    /// evaluation. Default: all.
    #[arg(long, value_delimiter = ',')]
    suite: Vec<String>,
    /// A Python with torch and torchvision, to run the same cases in turn.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// Writes bench.json, bench.md and plots into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A few small cases, in seconds, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name and pass contain this, such as `eql [` or `@ 80 forward`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Turns of each side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads of each side on a CPU. Default: one for each core.
    #[arg(long)]
    threads: Option<usize>,
    /// Runs nothing: puts the bench.json of several runs into one comparison.
    #[arg(long, value_name = "JSON", num_args = 1.., conflicts_with_all = ["suite", "peer", "quick", "only"])]
    merge: Vec<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = if args.merge.is_empty() {
        measure(&options(&args)?, &mut |record| eprintln!("{}", line(record)))?
    } else {
        let reports = args.merge.iter().map(|path| Report::read(path));
        Report::merge(reports.collect::<Result<Vec<_>, _>>()?)
    };
    if let Some(out) = &args.out {
        report.write(out)?;
    }
    println!("{}", report.markdown());
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> anyhow::Result<BenchOptions> {
    let mut options = BenchOptions {
        devices: args.device.clone(),
        peer: args.peer.clone(),
        rounds: args.rounds,
        threads: args.threads,
        is_quick: args.quick,
        only: args.only.clone(),
        ..Default::default()
    };
    if !args.suite.is_empty() {
        options.suites =
            args.suite.iter().map(|name| name.parse()).collect::<Result<Vec<Suite>, _>>()?;
    }
    if args.quick {
        (options.rounds, options.turn_ms) = (args.rounds.min(2), 5.0);
    }
    Ok(options)
}

/// One case, as it is done.
fn line(record: &Record) -> String {
    let mut line = format!("{:<11} {} {}", record.case.suite, record.case.name, record.case.pass);
    for (side, name) in [
        (Side::Ours, "ours"),
        (Side::Composed, "composed"),
        (Side::Peer, "PyTorch"),
        (Side::PeerRaised, "raised"),
    ] {
        if let Some(median) = record.median_ms(side) {
            line.push_str(&format!("  {name} {median:.3}"));
        }
    }
    if let Some(ratio) = record.ratio() {
        line.push_str(&format!("  ratio {ratio:.2}"));
    }
    for (_, reason) in record.failures() {
        line.push_str(&format!("  failed: {}", reason.lines().next().unwrap_or_default()));
    }
    if record.agrees() == Some(false) {
        line.push_str("  the sides differ");
    }
    line
}
