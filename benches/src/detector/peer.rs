//! torchvision's side, a process that answers one step at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::case::{CaseFolder, DetectorCase};
use super::clock::Stages;

pub(super) fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/detector.py")
}

/// Writes the weights and images of a case into its folder.
pub(super) fn prepare(python: &Path, folder: &CaseFolder) -> Result<()> {
    let status = Command::new(python).arg(script()).arg(&folder.path).arg("prepare").status();
    let status = status.with_context(|| format!("cannot run {python:?}"))?;
    ensure!(status.success(), "the peer could not prepare weights");
    Ok(())
}

/// How the peer gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocator {
    /// As it is.
    Plain,
    /// Large blocks are kept instead of being given back: faster with large tensors.
    Raised,
}

pub(super) struct Peer {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(super) fn start(python: &Path, folder: &CaseFolder, allocator: Allocator) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(script()).arg(&folder.path).arg("serve");
        if allocator == Allocator::Raised {
            command.env("MALLOC_TRIM_THRESHOLD_", "4294967296");
            command.env("MALLOC_MMAP_THRESHOLD_", "4294967296");
            command.env("MALLOC_TOP_PAD_", "268435456");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("the peer has no output")?;
        Ok(Self { process, answers: BufReader::new(output) })
    }

    pub(super) fn run(&mut self, case: DetectorCase) -> Result<(Stages, String)> {
        let name = if case.is_training() { "training" } else { "inference" };
        writeln!(self.process.stdin.as_mut().context("the peer has closed")?, "{name}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).context("the peer has failed")?;
        let mut stages = Stages::default();
        for (stage, ms) in answer["stages"].as_object().context("no stages")? {
            stages.add(stage, ms.as_f64().context("no number")?);
        }
        Ok((stages, answer["facts"].to_string()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
