//! Checks of the repository: `cargo xtask help` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod check;
mod fuzz;
mod host_reads;
mod layers;
mod links;
mod pictures;
mod process;
mod reference;
mod semver;
mod soak;
mod tools;
mod web;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  check [STEP...] [--no-test]   fmt, layers, host-reads, links, typos, deny, book, clippy, doc, test: all of them, or those
                                named
  layers                        crates depend on lower ranks only; libraries turn no backend on
  host-reads                    the training path reads from the device through one function only
  links                         links of the Markdown files lead to files and headings
  book                          build the guide into target/book, if mdBook is installed
  pictures                      run the demo and take its plots into docs/src/pictures
  reference [NAME...] [--python PATH] [--write]
                                rerun the scripts behind the expected numbers of the tests and compare;
                                --write stores new numbers instead
  fuzz [--seconds N] [--target NAME]... [--jobs N] [--minimize]
                                every parser under libFuzzer, 30 seconds each by default
  semver [REVISION]             breaks of the public interface since a revision, by cargo-semver-checks
  soak [--steps N]              two small runs of 10,000 steps, and the memory they hold
  web [--run FOLDER] [--webgpu] [--test] [--serve]
                                build the page with a detector (the demo's, or that of a run) into target/web;
                                --webgpu compiles that in, --test compares the page with `longtail predict` in
                                headless Chromium
  tools                         install typos, cargo-deny and mdBook from crates.io into target/tools
  check-cuda                    type-check the command with the cuda feature, without a CUDA toolkit
  help                          this text";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let stand_in = fuzz::instrument(&args).or_else(|| semver::rustdoc(&args));
    match stand_in.unwrap_or_else(|| run(&args)) {
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
        "fuzz" => fuzz::run(rest),
        "reference" => reference::run(rest),
        "semver" => semver::run(rest),
        "soak" => soak::run(rest),
        "web" => web::run(rest),
        "layers" | "host-reads" | "links" | "book" | "pictures" | "tools" | "check-cuda"
        | "help" | "--help" | "-h" => {
            if let Some(extra) = rest.first() {
                bail!("`{command}` takes no argument, got `{extra}`");
            }
            match command.as_str() {
                "layers" => layers::run(),
                "host-reads" => host_reads::run(),
                "links" => links::run(),
                "book" => check::book(),
                "pictures" => pictures::run(),
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
