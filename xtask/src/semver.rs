//! `cargo xtask semver`: whether the public interface still holds what a revision had.

use anyhow::{Result, bail};

use crate::{process, tools};

/// Compares the libraries with a revision, the last one by default.
///
/// # Errors
/// If the tool is missing, or an interface broke without a change of version.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let baseline = match args {
        [] => "HEAD~1",
        [revision] => revision,
        [_, extra, ..] => bail!("`semver` takes one revision, got `{extra}` too"),
    };
    let Some(mut tool) = tools::SEMVER.find() else {
        bail!("cargo-semver-checks is not installed: `cargo install --locked cargo-semver-checks`");
    };
    // The features that people get: all of them would compile every backend.
    process::run(tool.args(["semver-checks", "--workspace", "--default-features"]).args([
        "--baseline-rev",
        baseline,
        "--exclude",
        "longtail-cli",
    ]))
}
