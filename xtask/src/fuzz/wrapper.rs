//! The compiler with coverage counters for the parsers alone.
//!
//! Cargo calls the program of `RUSTC_WRAPPER` in place of the compiler, with the path of the
//! compiler first. The flags are those of a stable compiler.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Crates whose code is counted. The list of `fuzz/libfuzzer/Cargo.toml` must hold them all: its
/// settings keep their builds apart from the ordinary ones.
const CRATES: [&str; 15] = [
    "hotcoco",
    "image",
    "longtail",
    "longtail_data",
    "longtail_eval",
    "longtail_fuzz",
    "longtail_fuzz_targets",
    "longtail_models",
    "longtail_training",
    "longtail_types",
    "png",
    "pytorch_reader",
    "quick_xml",
    "safetensors",
    "zune_jpeg",
];

const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Whether the arguments are those of a call by Cargo.
fn is_compiler(args: &[String]) -> bool {
    let stem = args.first().and_then(|first| Path::new(first).file_stem());
    std::env::var_os("RUSTC_WRAPPER").is_some() && stem.is_some_and(|stem| stem == "rustc")
}

/// Runs the compiler if this is a call by Cargo in place of it.
///
/// # Errors
/// If the compiler cannot be started, or fails.
pub(crate) fn instrument(args: &[String]) -> Option<Result<()>> {
    is_compiler(args).then(|| {
        let (compiler, rest) = args.split_first().context("no compiler given")?;
        let flags: &[&str] = if is_counted(rest) { &FLAGS } else { &[] };
        let status = Command::new(compiler).args(rest).args(flags).status()?;
        // What is wrong, the compiler has said.
        if !status.success() {
            bail!("`rustc` ended with {status}");
        }
        Ok(())
    })
}

fn is_counted(args: &[String]) -> bool {
    let name = args.windows(2).find(|pair| pair[0] == "--crate-name").map(|pair| pair[1].as_str());
    name.is_some_and(|name| CRATES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsers_are_counted_and_kept_apart() {
        let args = |name: &str| ["--crate-name", name, "src/lib.rs"].map(str::to_owned);
        assert!(is_counted(&args("longtail_data")) && !is_counted(&args("burn_core")));
        assert!(!is_counted(&["-vV".to_owned()]));
        let manifest = include_str!("../../../fuzz/libfuzzer/Cargo.toml");
        for name in CRATES {
            let line = format!("\n{} = {{ ", name.replace('_', "-"));
            assert!(manifest.contains(&line), "{name}");
        }
    }
}
