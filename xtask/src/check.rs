//! `cargo xtask check`: what must hold before a commit, cheapest first; the same in CI.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{host_reads, layers, links, process, tools};

/// How one step ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Skipped(&'static str),
    Failed(String),
}

/// A step: its name on the command line and what it runs.
struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

const STEPS: [Step; 10] = [
    Step { name: "fmt", run: fmt },
    Step { name: "layers", run: || passed(layers::run()) },
    Step { name: "host-reads", run: || passed(host_reads::run()) },
    Step { name: "links", run: || passed(links::run()) },
    Step { name: "typos", run: typos },
    Step { name: "deny", run: deny },
    Step { name: "book", run: build_book },
    Step { name: "clippy", run: clippy },
    Step { name: "doc", run: doc },
    Step { name: "test", run: test },
];

/// Runs the named steps, or all; goes on after a failure, and fails at the end if any did.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut report: Vec<(&str, Outcome, Duration)> = Vec::new();
    for step in selected(args)? {
        println!("== {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        let elapsed = start.elapsed();
        println!("   {}", line(step.name, &outcome, elapsed));
        report.push((step.name, outcome, elapsed));
    }

    println!("\n== summary");
    report.iter().for_each(|(name, outcome, time)| println!("   {}", line(name, outcome, *time)));
    let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    let failed: Vec<&str> = report
        .iter()
        .filter(|(_, outcome, _)| is_failed(outcome))
        .map(|(name, ..)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Type-checks the `cuda` feature of the command.
///
/// `DOCS_RS` keeps build scripts from fetching a compiler; a target folder of its own keeps that
/// variable from touching the other builds.
pub(crate) fn cuda() -> Result<()> {
    let target = process::workspace_root().join("target/check-cuda");
    process::run(
        process::cargo(&["check", "--package", "longtail-cli", "--features", "cuda"])
            .arg("--target-dir")
            .arg(target)
            .env("DOCS_RS", "1"),
    )
}

/// Builds the guide into `target/book`; without mdBook that is an error.
pub(crate) fn book() -> Result<()> {
    match build_book()? {
        Outcome::Skipped(reason) => bail!("{reason}"),
        _ => Ok(()),
    }
}

fn selected(args: &[String]) -> Result<Vec<&'static Step>> {
    let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
    let mut chosen: Vec<&str> = Vec::new();
    let mut no_test = false;
    for arg in args {
        match arg.as_str() {
            "--no-test" => no_test = true,
            name if names.contains(&name) => chosen.push(name),
            other => bail!("unknown step `{other}`; steps: {}, --no-test", names.join(", ")),
        }
    }
    let is_selected = |step: &&Step| {
        (chosen.is_empty() || chosen.contains(&step.name)) && !(no_test && step.name == "test")
    };
    Ok(STEPS.iter().filter(is_selected).collect())
}

fn line(name: &str, outcome: &Outcome, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("{name:<10} passed   {seconds:>7.1} s"),
        Outcome::Skipped(reason) => format!("{name:<10} SKIPPED            {reason}"),
        Outcome::Failed(reason) => format!("{name:<10} FAILED   {seconds:>7.1} s  {reason}"),
    }
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn fmt() -> Result<Outcome> {
    if !process::succeeds(&mut process::cargo(&["fmt", "--version"])) {
        return Ok(Outcome::Skipped("rustfmt is not installed (rustup component add rustfmt)"));
    }
    passed(process::run(&mut process::cargo(&["fmt", "--all", "--check"])))
}

fn typos() -> Result<Outcome> {
    match tools::TYPOS.find() {
        Some(mut typos) => passed(process::run(&mut typos)),
        None => Ok(Outcome::Skipped("typos is not installed (cargo xtask tools)")),
    }
}

/// Without `advisories`: that part needs a database from the network.
fn deny() -> Result<Outcome> {
    match tools::DENY.find() {
        Some(mut deny) => passed(process::run(deny.args([
            "--workspace",
            "--all-features",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))),
        None => Ok(Outcome::Skipped("cargo-deny is not installed (cargo xtask tools)")),
    }
}

fn build_book() -> Result<Outcome> {
    match tools::MDBOOK.find() {
        Some(mut mdbook) => passed(process::run(mdbook.args(["build", "docs"]))),
        None => Ok(Outcome::Skipped("mdbook is not installed (cargo xtask tools)")),
    }
}

/// In the release profile like everything else, so that build scripts are compiled once.
fn clippy() -> Result<Outcome> {
    if !process::succeeds(&mut process::cargo(&["clippy", "--version"])) {
        return Ok(Outcome::Skipped("clippy is not installed (rustup component add clippy)"));
    }
    let args = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    passed(process::run(&mut process::cargo(&args)))
}

fn doc() -> Result<Outcome> {
    let mut doc = process::cargo(&["doc", "--release", "--workspace", "--no-deps"]);
    passed(process::run(doc.env("RUSTDOCFLAGS", "-D warnings")))
}

fn test() -> Result<Outcome> {
    passed(process::run(&mut process::cargo(&[
        "test",
        "--release",
        "--workspace",
        "--no-fail-fast",
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Result<Vec<&'static str>> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        Ok(selected(&args)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_selected_by_name_and_keep_their_order() {
        assert_eq!(names(&["doc", "fmt"]).unwrap(), ["fmt", "doc"]);
        assert_eq!(names(&[]).unwrap().len(), STEPS.len());
    }

    #[test]
    fn no_test_leaves_the_rest() {
        let names = names(&["--no-test"]).unwrap();
        assert_eq!(
            names,
            ["fmt", "layers", "host-reads", "links", "typos", "deny", "book", "clippy", "doc"]
        );
    }

    #[test]
    fn an_unknown_step_is_named() {
        let message = names(&["format"]).unwrap_err().to_string();
        assert!(
            message.starts_with("unknown step `format`; steps: fmt, layers, host-reads,"),
            "{message}"
        );
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        let outcome = Outcome::Failed("`cargo` ended with exit status: 101".into());
        let line = line("clippy", &outcome, Duration::from_millis(1540));
        assert_eq!(line, "clippy     FAILED       1.5 s  `cargo` ended with exit status: 101");
    }
}
