//! torchvision's side, a process that answers one step at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::peer::RAISED;

use super::Step;
use super::case::{CaseFolder, DetectorCase};
use super::clock::Stages;

/// The twin of our stages.
const SCRIPT: &str = include_str!("../../peer/detector.py");

/// Python with the script.
pub(super) fn command(python: &Path, folder: &CaseFolder) -> Command {
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).arg(&folder.path);
    command
}

/// Writes the weights and images of a case into its folder.
pub(super) fn prepare(python: &Path, folder: &CaseFolder) -> Result<()> {
    let status = command(python, folder).arg("prepare").status();
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
        let mut command = command(python, folder);
        command.arg("serve");
        if allocator == Allocator::Raised {
            command.envs(RAISED);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().context("the peer has no output")?;
        Ok(Self { process, answers: BufReader::new(output) })
    }

    pub(super) fn run(&mut self, case: DetectorCase) -> Result<Step> {
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
        let facts = &answer["facts"];
        let check = facts["loss"].as_f64().filter(|_| !case.is_training());
        Ok(Step { stages, check, facts: facts.to_string() })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
