//! `longtail data`.

mod browse;
mod check;
mod convert;
mod input;
mod source;
mod stats;
mod synth;

use std::process::ExitCode;

use clap::Subcommand;

/// Commands of `data`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Count the classes of a training set: shape of the tail, imbalance, groups.
    Stats(stats::Args),
    /// Make a page of a data set that a browser shows: numbers, plots, pictures of every class,
    /// problems, in one HTML file.
    Browse(browse::Args),
    /// List what is wrong with the annotations of a detection set, image by image.
    Check(check::Args),
    /// Write the synthetic long-tailed detection set: images and LVIS JSON.
    Synth(synth::Args),
    /// Write the synthetic classification set as PNG class folders: `OUT/train` and `OUT/test`.
    SynthClasses(synth::ClassArgs),
    /// Write a detection set of any form as COCO or LVIS JSON.
    Convert(convert::Args),
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Stats(args) => stats::run(args),
        Command::Browse(args) => browse::run(&args),
        Command::Check(args) => check::run(args),
        Command::Synth(args) => synth::run(&args),
        Command::SynthClasses(args) => synth::run_classes(&args),
        Command::Convert(args) => convert::run(&args),
    }
}
