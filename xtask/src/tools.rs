//! Tools that are not part of a Rust toolchain.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::process;

/// A tool from crates.io.
pub(crate) struct Tool {
    krate: &'static str,
    version: &'static str,
    binary: &'static str,
    /// What `cargo install` is told beside name and version.
    args: &'static [&'static str],
}

/// Spelling.
pub(crate) const TYPOS: Tool =
    Tool { krate: "typos-cli", version: "1.52.0", binary: "typos", args: &[] };
/// Licenses, sources and duplicate versions of the dependencies.
pub(crate) const DENY: Tool =
    Tool { krate: "cargo-deny", version: "0.20.2", binary: "cargo-deny", args: &[] };
/// The guide as a book of HTML pages, without the server that shows it.
pub(crate) const MDBOOK: Tool = Tool {
    krate: "mdbook",
    version: "0.5.4",
    binary: "mdbook",
    args: &["--no-default-features", "--features", "search"],
};
/// Breaks of a public interface; not among those that are installed: its build takes long.
pub(crate) const SEMVER: Tool =
    Tool { krate: "cargo-semver-checks", version: "", binary: "cargo-semver-checks", args: &[] };

impl Tool {
    /// The tool in `target/tools`, or else on the path; `None` when it is on neither.
    pub(crate) fn find(&self) -> Option<Command> {
        let ours = root().join("bin").join(self.binary);
        [ours, PathBuf::from(self.binary)]
            .into_iter()
            .find(|program| process::succeeds(process::command(program).arg("--version")))
            .map(process::command)
    }
}

/// Installs what is missing into `target/tools`: 3 minutes on 2 cores, as debug builds.
pub(crate) fn install() -> Result<()> {
    let root = root();
    let build = root.join("build");
    for tool in [TYPOS, DENY, MDBOOK] {
        if tool.find().is_some() {
            println!("{}: installed", tool.binary);
            continue;
        }
        let start = Instant::now();
        process::run(
            process::cargo(&["install", "--quiet", "--debug", "--locked", tool.krate])
                .args(["--version", tool.version])
                .args(tool.args)
                .arg("--root")
                .arg(&root)
                .env("CARGO_TARGET_DIR", &build)
                .env("CARGO_PROFILE_DEV_DEBUG", "0"),
        )?;
        println!("{}: installed in {:.0} s", tool.binary, start.elapsed().as_secs_f64());
    }
    if build.exists() {
        std::fs::remove_dir_all(&build)
            .with_context(|| format!("cannot remove {}", build.display()))?;
    }
    Ok(())
}

fn root() -> PathBuf {
    process::workspace_root().join("target/tools")
}
