//! `cargo xtask reference`: are the committed numbers what the independent scripts compute?
//!
//! Every script `xtask/reference/NAME.py` stands in [`SCRIPTS`] with the place of its numbers.
//! Names that begin with `_` are shared modules.

mod numbers;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process;
use numbers::difference;

/// A script and where its numbers are kept. `{out}` in an argument is a fresh folder.
struct Script {
    name: &'static str,
    args: &'static [&'static str],
    output: Output,
}

/// Where numbers come out of a script, and the place in the repository that keeps them.
enum Output {
    /// It prints them; they are kept in this file.
    Printed(&'static str),
    /// It writes files into `{out}`; they are kept in this folder.
    Written(&'static str),
    /// It reads the committed numbers itself, and fails if they are others.
    Compared,
}

const SCRIPTS: [Script; 17] = [
    Script { name: "data", args: &["{out}"], output: Output::Written("crates/data/tests/data") },
    Script {
        name: "detection",
        args: &["{out}"],
        output: Output::Written("crates/eval/tests/data/detection"),
    },
    Script {
        name: "detection_data",
        args: &["masks", "{out}/masks.json"],
        output: Output::Written("crates/data/tests/data"),
    },
    Script {
        name: "distillation",
        args: &["{out}/distillation.json"],
        output: Output::Written("crates/losses/tests/data"),
    },
    Script { name: "eval", args: &[], output: Output::Printed("crates/eval/tests/data/eval.json") },
    Script {
        name: "losses",
        args: &["{out}/losses_more.json"],
        output: Output::Written("crates/losses/tests/data"),
    },
    Script {
        name: "losses_basic",
        args: &["crates/losses/tests/data/losses_11x23.json"],
        output: Output::Compared,
    },
    Script {
        name: "losses_sigmoid",
        args: &["{out}/losses_sigmoid.json"],
        output: Output::Written("crates/losses/tests/data"),
    },
    Script {
        name: "losses_softmax",
        args: &["{out}/losses_softmax.json"],
        output: Output::Written("crates/losses/tests/data"),
    },
    Script {
        name: "meta_reweighter",
        args: &["{out}/meta_reweighter.json"],
        output: Output::Written("crates/training/tests/data"),
    },
    Script {
        name: "meta_sampler",
        args: &["{out}/meta_sampler.json"],
        output: Output::Written("crates/training/tests/data"),
    },
    Script {
        name: "models",
        args: &["numbers", "{out}"],
        output: Output::Written("crates/models/tests/data"),
    },
    Script {
        name: "ops",
        args: &["{out}/torchvision.json"],
        output: Output::Written("crates/ops/tests/data"),
    },
    Script {
        name: "pooling",
        args: &["{out}/pooling.json"],
        output: Output::Written("crates/models/tests/data"),
    },
    Script {
        name: "rcnn",
        args: &["{out}/mask_rcnn_batch.json"],
        output: Output::Written("crates/models/tests/data"),
    },
    Script {
        name: "retinanet",
        args: &["{out}/retinanet_batch.json"],
        output: Output::Written("crates/models/tests/data"),
    },
    Script {
        name: "training",
        args: &[],
        output: Output::Printed("xtask/reference/expected/training.txt"),
    },
];

#[derive(Debug, PartialEq)]
struct Options {
    names: Vec<String>,
    python: String,
    is_writing: bool,
}

/// Runs every script, or the named ones, and fails if any fails or its numbers differ.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let default = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let options = parse(args, &default)?;
    check_listed(&process::workspace_root().join("xtask/reference"))?;
    let mut failed = Vec::new();
    let mut passed = 0;
    for script in SCRIPTS.iter() {
        if !options.names.is_empty() && !options.names.iter().any(|name| name == script.name) {
            continue;
        }
        let start = Instant::now();
        let result = script.run(&options);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(num_files) => {
                let word = if options.is_writing { "written" } else { "reproduced" };
                println!("{:<16} {word}, {num_files} files, {seconds:.1} s", script.name);
                passed += 1;
            }
            Err(error) => {
                println!("{:<16} FAILED, {seconds:.1} s: {error:#}", script.name);
                failed.push(script.name);
            }
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        bail!(
            "failed: {} (the Python packages they need: xtask/reference/requirements.txt)",
            failed.join(", ")
        );
    }
    Ok(())
}

impl Script {
    /// Returns the number of files compared or stored.
    fn run(&self, options: &Options) -> Result<usize> {
        let root = process::workspace_root();
        let out = root.join("target/reference").join(self.name);
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::create_dir_all(&out)?;
        let folder = out.display().to_string();
        let output = process::command(&options.python)
            .arg(format!("xtask/reference/{}.py", self.name))
            .args(self.args.iter().map(|arg| arg.replace("{out}", &folder)))
            .output()
            .with_context(|| format!("cannot start `{}`", options.python))?;
        check_status(&output)?;

        match self.output {
            Output::Compared => Ok(1),
            Output::Printed(kept) => {
                compare(&output.stdout, &root.join(kept), options.is_writing)?;
                Ok(1)
            }
            Output::Written(kept) => {
                let mut num_files = 0;
                for entry in fs::read_dir(&out)? {
                    let entry = entry?;
                    let fresh = fs::read(entry.path())?;
                    compare(&fresh, &root.join(kept).join(entry.file_name()), options.is_writing)?;
                    num_files += 1;
                }
                if num_files == 0 {
                    bail!("it wrote no file");
                }
                Ok(num_files)
            }
        }
    }
}

fn check_status(output: &std::process::Output) -> Result<()> {
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", output.status, error.trim().lines().last().unwrap_or_default());
    }
    Ok(())
}

/// Text number by number, images byte by byte.
fn compare(fresh: &[u8], kept: &Path, is_writing: bool) -> Result<()> {
    if is_writing {
        if let Some(folder) = kept.parent() {
            fs::create_dir_all(folder)?;
        }
        return fs::write(kept, fresh).with_context(|| format!("cannot write {}", kept.display()));
    }
    let committed =
        fs::read(kept).with_context(|| format!("nothing committed as {}", kept.display()))?;
    if committed == fresh {
        return Ok(());
    }
    let difference = match (str::from_utf8(&committed), str::from_utf8(fresh)) {
        (Ok(committed), Ok(fresh)) => difference(committed, fresh),
        _ => Some("other bytes".into()),
    };
    match difference {
        Some(difference) => bail!("{}: {difference}", kept.display()),
        None => Ok(()),
    }
}

fn parse(args: &[String], default_python: &str) -> Result<Options> {
    let mut options =
        Options { names: Vec::new(), python: default_python.into(), is_writing: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--python" => options.python = args.next().context("--python needs a path")?.clone(),
            "--write" => options.is_writing = true,
            name if SCRIPTS.iter().any(|script| script.name == name) => {
                options.names.push(name.into());
            }
            other => {
                let names: Vec<&str> = SCRIPTS.iter().map(|script| script.name).collect();
                bail!("no script `{other}`; scripts: {}", names.join(", "));
            }
        }
    }
    Ok(options)
}

/// A script that is not in the table would never be run.
fn check_listed(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let file = entry?.file_name();
        if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".py"))
            && !name.starts_with('_')
            && SCRIPTS.iter().all(|script| script.name != name)
        {
            bail!("xtask/reference/{name}.py is not in the table of xtask/src/reference.rs");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Options> {
        let args: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        parse(&args, "python3")
    }

    #[test]
    fn arguments_are_read() {
        let options = parse_words(&["eval", "--python", "venv/bin/python", "--write"]).unwrap();
        let expected = Options {
            names: vec!["eval".into()],
            python: "venv/bin/python".into(),
            is_writing: true,
        };
        assert_eq!(options, expected);
        let expected = Options { names: vec![], python: "python3".into(), is_writing: false };
        assert_eq!(parse_words(&[]).unwrap(), expected);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let message = parse_words(&["evil"]).unwrap_err().to_string();
        assert!(
            message.starts_with("no script `evil`; scripts: data, detection, detection_data, "),
            "{message}"
        );
        let message = parse_words(&["--python"]).unwrap_err().to_string();
        assert_eq!(message, "--python needs a path");
    }

    #[test]
    fn every_script_is_listed_and_every_listed_script_is_there() {
        let folder = process::workspace_root().join("xtask/reference");
        check_listed(&folder).unwrap();
        for script in &SCRIPTS {
            assert!(folder.join(script.name).with_extension("py").exists(), "{}", script.name);
        }
    }
}
