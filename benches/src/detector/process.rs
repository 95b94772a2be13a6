//! Threads and memory of processes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::case::CaseFolder;
use super::peer::command;

/// Peak resident memory of this process.
pub(super) fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("only Linux tells")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
    Ok(1024 * kibibytes.parse::<u64>()?)
}

/// Resident memory of this process now; `None` where the system does not tell.
pub(super) fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

pub(super) fn use_threads(threads: usize) -> Result<()> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?)
}

/// Of a few of our steps, in a process of its own.
pub(super) fn peak_of_ours(folder: &CaseFolder) -> Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    peak(command.args(["--only", &folder.case.to_string(), "--memory-of"]).arg(&folder.path))
}

/// Of a few steps of the peer, in a process of its own.
pub(super) fn peak_of_peer(python: &Path, folder: &CaseFolder) -> Result<u64> {
    let name = if folder.case.is_training() { "training" } else { "inference" };
    peak(command(python, folder).args(["memory", name]))
}

fn peak(command: &mut Command) -> Result<u64> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().next().context("it printed nothing")?;
    Ok(number.parse()?)
}
