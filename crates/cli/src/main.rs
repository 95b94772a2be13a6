//! The `longtail` command: parse, call the library, print.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]

mod commands;
#[cfg(test)]
mod documents_tests;
mod fetch;
mod page;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Recognition and detection on long-tailed data, on any GPU or CPU.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at a data set and advise a recipe to start from, with reasons.
    Advise(commands::advise::Args),
    /// Train a recipe: weights, metrics and a report go to a run folder.
    Train(commands::train::Args),
    /// Train several recipes over several seeds, and put the results into one table.
    Compare(commands::compare::Args),
    /// Evaluate a run on its test set, or detections in a file against annotations.
    Evaluate(commands::evaluate::Args),
    /// Evaluate a run on its test set, and make a page of it that a browser shows: numbers, plots,
    /// every class, pictures of its errors, in one HTML file.
    Report(commands::report::Args),
    /// Classify images, or detect objects in them, with a run's model.
    Predict(commands::predict::Args),
    /// Answer images over HTTP with a run's model.
    Serve(commands::serve::Args),
    /// Look at data sets, check them, convert them, or write the synthetic ones to disk.
    #[command(subcommand)]
    Data(commands::data::Command),
    /// Bring weights in from PyTorch, take them back, look into files.
    #[command(subcommand)]
    Weights(commands::weights::Command),
    /// List the devices that this build and machine offer.
    Devices(commands::devices::Args),
    /// Let other machines use the devices of this one.
    #[cfg(feature = "remote")]
    DeviceServer(commands::device_server::Args),
    /// Train a detector on the embedded data set with several losses, and compare.
    Demo(commands::demo::Args),
    /// Measure the speed of this library on devices, beside PyTorch if it is there.
    Bench(commands::bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Advise(args) => commands::advise::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Compare(args) => commands::compare::run(args),
        Command::Evaluate(args) => commands::evaluate::run(args),
        Command::Report(args) => commands::report::run(&args),
        Command::Predict(args) => commands::predict::run(args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Data(command) => commands::data::run(command),
        Command::Weights(command) => commands::weights::run(command),
        Command::Devices(args) => commands::devices::run(args),
        #[cfg(feature = "remote")]
        Command::DeviceServer(args) => commands::device_server::run(args),
        Command::Demo(args) => commands::demo::run(args),
        Command::Bench(args) => commands::bench::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// The message and those of its causes; messages of this library hold their cause already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}
