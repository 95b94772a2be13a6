//! Subprocesses, run from the workspace root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// A command that runs in the workspace root.
///
/// `cargo run` puts target folders on the library path; they are taken off again, because build
/// scripts that watch that variable would run anew.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    for variable in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(variable) {
            match outside_of_target(&value) {
                Some(kept) => command.env(variable, kept),
                None => command.env_remove(variable),
            };
        }
    }
    command
}

/// `cargo` with these arguments, in the workspace root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Runs to the end with inherited output; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` ended with {status}");
    }
    Ok(())
}

/// Whether the command starts and ends well; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// The search path without the entries that `cargo run` adds; `None` when nothing is left.
fn outside_of_target(value: &std::ffi::OsStr) -> Option<std::ffi::OsString> {
    let added = |path: &PathBuf| {
        path.starts_with(workspace_root().join("target"))
            || path.components().any(|part| part.as_os_str() == "rustlib")
            || path.components().any(|part| part.as_os_str() == "toolchains")
    };
    let kept: Vec<PathBuf> = std::env::split_paths(value).filter(|path| !added(path)).collect();
    if kept.is_empty() { None } else { std::env::join_paths(kept).ok() }
}
