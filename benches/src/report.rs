//! What a run found, as it is kept in a file.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::machine::Machine;
use crate::peer::PeerVersions;
use crate::summary::Summary;
use crate::work::{Case, Suite};

/// Number of the layout of the JSON.
const FORMAT: u32 = 1;

/// Runs on one or several devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of the layout.
    pub format: u32,
    /// One for each device.
    pub sessions: Vec<Session>,
}

/// All cases on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The device as on the command line.
    pub device: String,
    /// What it is.
    pub device_name: String,
    /// The computer.
    pub machine: Machine,
    /// Day of the run, in UTC.
    pub date: String,
    /// Threads of each side.
    pub threads: usize,
    /// Version of this library.
    pub longtail: String,
    /// Version of Burn.
    pub burn: String,
    /// PyTorch, if it ran beside us.
    pub peer: Option<PeerVersions>,
    /// Turns of each side.
    pub rounds: usize,
    /// Whether these are the small cases that only show that everything runs.
    pub is_quick: bool,
    /// The cases in order.
    pub records: Vec<Record>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was run.
    pub case: Case,
    /// Who ran it, and how it went.
    pub sides: Vec<SideRecord>,
}

/// One side of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideRecord {
    /// Who.
    pub side: Side,
    /// How it went.
    pub outcome: Outcome,
}

/// Who runs a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// This library.
    Ours,
    /// This library with its fused forms switched off: ordinary Burn operations.
    Composed,
    /// Eager PyTorch.
    Peer,
    /// Eager PyTorch with the thresholds of glibc's malloc raised: faster with large tensors.
    PeerRaised,
}

/// How one side of a case went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Measured(Measurement),
    /// It did not.
    Failed(String),
}

/// What was measured of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Its times.
    pub times: Summary,
    /// Memory that the first call took at its peak beyond the inputs, in bytes.
    pub peak_bytes: Option<u64>,
    /// A number that all sides compute from the same inputs.
    pub check: Option<f64>,
}

impl Record {
    /// What was measured of a side; `None` if it did not run or failed.
    pub fn measurement(&self, side: Side) -> Option<&Measurement> {
        self.sides.iter().find(|record| record.side == side).and_then(|record| {
            match &record.outcome {
                Outcome::Measured(measurement) => Some(measurement),
                Outcome::Failed(_) => None,
            }
        })
    }

    /// Half of the calls of a side took less, in milliseconds.
    pub fn median_ms(&self, side: Side) -> Option<f64> {
        self.measurement(side).map(|measurement| measurement.times.median_ms)
    }

    /// Our median over the one of the stronger peer.
    pub fn ratio(&self) -> Option<f64> {
        let peers = [Side::Peer, Side::PeerRaised].map(|side| self.median_ms(side));
        let stronger = peers.into_iter().flatten().min_by(f64::total_cmp)?;
        Some(self.median_ms(Side::Ours)? / stronger)
    }

    /// Why sides failed.
    pub fn failures(&self) -> impl Iterator<Item = (Side, &str)> {
        self.sides.iter().filter_map(|record| match &record.outcome {
            Outcome::Measured(_) => None,
            Outcome::Failed(reason) => Some((record.side, reason.as_str())),
        })
    }

    /// Whether the sides computed the same; `None` where fewer than two tell.
    pub fn agrees(&self) -> Option<bool> {
        let checks: Vec<f64> =
            self.sides.iter().filter_map(|record| self.measurement(record.side)?.check).collect();
        let (first, others) = checks.split_first()?;
        let tolerance = self.case.tolerance();
        let is_close = |&other: &f64| {
            (first - other).abs() <= tolerance * first.abs().max(other.abs()) + 1e-12
        };
        (!others.is_empty()).then(|| others.iter().all(is_close))
    }
}

impl Session {
    /// Whether both are parts of one run: the same devices, programs and threads, other cases.
    fn is_part_with(&self, other: &Self) -> bool {
        let setup = |s: &Self| (s.device.clone(), s.device_name.clone(), s.threads, s.is_quick);
        let programs = |s: &Self| (s.longtail.clone(), s.burn.clone(), s.peer.clone());
        let is_known = |record: &Record| {
            self.records.iter().any(|known| known.case.is_same_work(&record.case))
        };
        setup(self) == setup(other)
            && programs(self) == programs(other)
            && self.machine == other.machine
            && !other.records.iter().any(is_known)
    }

    /// The records of a suite.
    pub fn suite(&self, suite: Suite) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.case.suite == suite)
    }
}

impl Report {
    /// A report of these sessions.
    pub fn new(sessions: Vec<Session>) -> Self {
        Self { format: FORMAT, sessions }
    }

    /// The sessions of several reports, in order. Sessions that differ in nothing but their cases,
    /// such as one suite after the other, become one.
    pub fn merge(reports: impl IntoIterator<Item = Self>) -> Self {
        let mut sessions: Vec<Session> = Vec::new();
        for session in reports.into_iter().flat_map(|report| report.sessions) {
            match sessions.iter_mut().find(|other| other.is_part_with(&session)) {
                Some(other) => {
                    other.records.extend(session.records);
                    other.notes.extend(session.notes);
                }
                None => sessions.push(session),
            }
        }
        Self::new(sessions)
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no report of this layout.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let file = |source| BenchError::File { action: "read", path: path.into(), source };
        let text = fs::read_to_string(path).map_err(file)?;
        let bad = |reason| BenchError::NotAReport { path: path.into(), reason };
        let report: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if report.format != FORMAT {
            return Err(bad(format!("its format is {}, not {FORMAT}", report.format)));
        }
        Ok(report)
    }

    /// Writes `bench.json`, `bench.md` and the plots into a folder, which is made if needed.
    ///
    /// # Errors
    /// If a file cannot be written or a plot not drawn.
    pub fn write(&self, folder: &Path) -> Result<(), BenchError> {
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| BenchError::File { action, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let json = serde_json::to_string_pretty(self).map_err(|error| BenchError::NotAReport {
            path: folder.into(),
            reason: error.to_string(),
        })?;
        let mut files = vec![("bench.json", json), ("bench.md", self.markdown())];
        files.extend(self.plots()?);
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).map_err(failed("write", &path))?;
        }
        Ok(())
    }
}
