//! `cargo xtask reference`: are the committed numbers what the independent scripts compute?
//!
//! A script `xtask/reference/NAME.py` takes `--check` (compare with the committed numbers, exit
//! code 1 on a difference) or `--write` (store new ones). Names that begin with `_` are shared
//! modules.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process;

#[derive(Debug, PartialEq)]
struct Options {
    names: Vec<String>,
    python: String,
    mode: &'static str,
}

/// Runs every script, or the named ones, and fails if any fails.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let default = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let options = parse(args, &default)?;
    let folder = process::workspace_root().join("xtask/reference");
    let scripts = select(scripts(&folder)?, &options.names)?;
    if !process::succeeds(
        process::command(&options.python).args(["-c", "import torch, torchvision"]),
    ) {
        bail!(
            "`{}` has no torch and torchvision; install xtask/reference/requirements.txt into a \
             virtual environment and pass its Python by --python",
            options.python
        );
    }

    let mut failed = Vec::new();
    for name in &scripts {
        let start = Instant::now();
        let script = folder.join(format!("{name}.py"));
        let result = process::run(process::command(&options.python).arg(script).arg(options.mode));
        let word = if result.is_ok() { "passed" } else { "FAILED" };
        println!("{name:<24} {word} {:>7.1} s", start.elapsed().as_secs_f64());
        if result.is_err() {
            failed.push(name.as_str());
        }
    }
    println!("{} passed, {} failed", scripts.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn parse(args: &[String], default_python: &str) -> Result<Options> {
    let mut options = Options { names: Vec::new(), python: default_python.into(), mode: "--check" };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--python" => options.python = args.next().context("--python needs a path")?.clone(),
            "--write" => options.mode = "--write",
            "--check" => options.mode = "--check",
            flag if flag.starts_with('-') => bail!("unknown flag `{flag}`"),
            name => options.names.push(name.trim_end_matches(".py").to_owned()),
        }
    }
    Ok(options)
}

/// Names of the scripts in `folder`, sorted.
fn scripts(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".py"))
            && !name.starts_with('_')
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn select(scripts: Vec<String>, names: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = names.iter().find(|name| !scripts.contains(name)) {
        bail!("no script `{unknown}`; scripts: {}", scripts.join(", "));
    }
    Ok(if names.is_empty() { scripts } else { names.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|&value| value.to_owned()).collect()
    }

    #[test]
    fn arguments_are_read() {
        let args = strings(&["seesaw.py", "--python", "venv/bin/python", "--write"]);
        let options = parse(&args, "python3").unwrap();
        let expected = Options {
            names: strings(&["seesaw"]),
            python: "venv/bin/python".into(),
            mode: "--write",
        };
        assert_eq!(options, expected);
        assert_eq!(parse(&[], "python3").unwrap().mode, "--check");
    }

    #[test]
    fn wrong_arguments_are_named() {
        let message = parse(&strings(&["--pythn"]), "python3").unwrap_err().to_string();
        assert_eq!(message, "unknown flag `--pythn`");
        let message = parse(&strings(&["--python"]), "python3").unwrap_err().to_string();
        assert_eq!(message, "--python needs a path");
        let message = select(strings(&["a", "b"]), &strings(&["c"])).unwrap_err().to_string();
        assert_eq!(message, "no script `c`; scripts: a, b");
    }

    #[test]
    fn scripts_are_listed_without_shared_modules() {
        let folder = process::workspace_root().join("xtask/reference");
        let names = scripts(&folder).unwrap();
        assert!(!names.is_empty());
        assert!(names.is_sorted());
        assert!(names.iter().all(|name| !name.starts_with('_') && !name.ends_with(".py")));
    }
}
