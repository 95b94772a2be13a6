//! Checks of the repository: `cargo xtask help` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod check;
mod host_reads;
mod layers;
mod process;
mod reference;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  check [STEP...] [--no-test]   fmt, layers, host-reads, typos, deny, clippy, doc, test: all of them, or those named
  layers                        crates depend on lower ranks only; libraries turn no backend on
  host-reads                    the training path reads from the device through one function only
  reference [NAME...] [--python PATH] [--write]
                                rerun the scripts behind the expected numbers of the tests and compare;
                                --write stores new numbers instead
  tools                         install typos and cargo-deny from crates.io into target/tools
  check-cuda                    type-check the command with the cuda feature, without a CUDA toolkit
  help                          this text";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((command, rest)) = args.split_first() else {
        bail!("no command given\n\n{HELP}");
    };
    match command.as_str() {
        "check" => check::run(rest),
        "reference" => reference::run(rest),
        "layers" | "host-reads" | "tools" | "check-cuda" | "help" | "--help" | "-h" => {
            if let Some(extra) = rest.first() {
                bail!("`{command}` takes no argument, got `{extra}`");
            }
            match command.as_str() {
                "layers" => layers::run(),
                "host-reads" => host_reads::run(),
                "tools" => tools::install(),
                "check-cuda" => check::cuda(),
                _ => {
                    println!("{HELP}");
                    Ok(())
                }
            }
        }
        other => bail!("unknown command `{other}`\n\n{HELP}"),
    }
}
