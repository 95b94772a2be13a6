//! PyTorch beside us, in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::BenchError;
use crate::operations::Failure;
use crate::ours::{Contestant, Start};
use crate::work::Case;

/// The twin of our operations; it reads requests as JSON lines.
const SCRIPT: &str = include_str!("../peer/peer.py");

/// With these, glibc keeps freed memory, and large tensors cost no page faults.
pub(crate) const RAISED: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TOP_PAD_", "268435456"),
];

/// The peer of a session: who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerVersions {
    /// Version of PyTorch.
    pub torch: String,
    /// Version of torchvision.
    pub torchvision: String,
    /// Version of Python.
    pub python: String,
    /// What it computes on: `cpu`, `cuda`, `mps`.
    pub device: String,
    /// The name of that device.
    pub device_name: String,
}

/// How to start a peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerCommand {
    pub(crate) python: PathBuf,
    pub(crate) threads: usize,
    /// `cpu`, `cuda`, `mps`, or `gpu` for the best there is.
    pub(crate) device: &'static str,
    pub(crate) scratch: PathBuf,
}

/// A running interpreter, or one that starts at the next case.
pub(crate) struct Peer {
    command: PeerCommand,
    is_raised: bool,
    process: Option<Process>,
    /// Whether the process ends with the case: what it keeps would stand in the way of others.
    is_large: bool,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    versions: PeerVersions,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Versions(PeerVersions),
    Started { cold_ms: f64, check: Option<f64>, peak_bytes: Option<u64> },
    Times(Vec<f64>),
    Failed(String),
}

impl Peer {
    /// `is_raised`: with the thresholds of glibc's malloc raised.
    pub(crate) fn new(command: PeerCommand, is_raised: bool) -> Self {
        Self { command, is_raised, process: None, is_large: false }
    }

    /// Who it is; starts it.
    pub(crate) fn versions(&mut self) -> Result<PeerVersions, BenchError> {
        let python = self.command.python.clone();
        self.process()
            .map(|process| process.versions.clone())
            .map_err(|error| BenchError::Peer { python, reason: error.to_string() })
    }

    fn process(&mut self) -> Result<&mut Process, Failure> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.command, self.is_raised)?);
        }
        self.process.as_mut().ok_or_else(|| "has not started".into())
    }

    /// Asks; a peer that does not answer is started anew at the next case.
    fn ask(&mut self, request: &serde_json::Value) -> Result<Answer, Failure> {
        let answer = self.process()?.ask(request);
        if answer.is_err() {
            self.process = None;
        }
        match answer? {
            Answer::Failed(reason) => Err(reason.into()),
            answer => Ok(answer),
        }
    }
}

impl Process {
    fn start(command: &PeerCommand, is_raised: bool) -> Result<Self, Failure> {
        let mut process = Command::new(&command.python);
        process.args(["-c", SCRIPT, &command.threads.to_string(), command.device]);
        process.arg(&command.scratch);
        if is_raised {
            process.envs(RAISED);
        }
        process.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("has no pipes".into());
        };
        let mut output = BufReader::new(output);
        match read(&mut output)? {
            Answer::Versions(versions) => Ok(Self { child, input, output, versions }),
            Answer::Failed(reason) => Err(reason.into()),
            _ => Err("did not say which versions it has".into()),
        }
    }

    fn ask(&mut self, request: &serde_json::Value) -> Result<Answer, Failure> {
        writeln!(self.input, "{request}").and_then(|()| self.input.flush())?;
        read(&mut self.output)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(output: &mut impl BufRead) -> Result<Answer, Failure> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        return Err("ended without an answer; see its message above".into());
    }
    serde_json::from_str(&line).map_err(|_| format!("answered {:?}", line.trim_end()).into())
}

impl Contestant for Peer {
    fn start(&mut self, case: &Case) -> Result<Start, Failure> {
        self.is_large = case.work.peak_bytes() > 1 << 29;
        if self.is_large {
            self.process = None;
        }
        match self.ask(&json!({ "start": case.work, "pass": case.pass }))? {
            Answer::Started { cold_ms, check, peak_bytes } => {
                Ok(Start { cold_ms, check, peak_bytes })
            }
            _ => Err("did not say how it started".into()),
        }
    }

    fn calls(&mut self, count: usize) -> Result<Vec<f64>, Failure> {
        match self.ask(&json!({ "calls": count }))? {
            Answer::Times(times) => Ok(times),
            _ => Err("did not give its times".into()),
        }
    }

    fn finish(&mut self) {
        if self.is_large {
            self.process = None;
        }
    }
}

/// What PyTorch calls the kind of our device.
pub(crate) fn peer_device(name: &str) -> &'static str {
    match name.split(':').next().unwrap_or(name) {
        "flex" | "ndarray" | "cpu" => "cpu",
        "cuda" | "rocm" => "cuda",
        "metal" => "mps",
        _ => "gpu", // a graphics API says nothing of the maker
    }
}

/// A folder for files that both sides read; removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, BenchError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (process, run) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("longtail-bench-{process}-{run}"));
        std::fs::create_dir_all(&path).map_err(|source| BenchError::File {
            action: "make",
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
