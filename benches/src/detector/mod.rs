//! Mask R-CNN step by stage beside torchvision: training, inference, and whether memory stays flat.
//!
//! [`measure`] gives rows of case, stage and times. Both sides have the same random weights and
//! images, the same objects, and the same limits on anchors, proposals and regions.

mod case;
mod clock;
mod ours;
mod peer;
mod process;
mod records;
mod soak;

use std::path::PathBuf;

use anyhow::Result;
use longtail::burn::tensor::Device;

pub use case::DetectorCase;
pub(crate) use clock::WHOLE;
pub use ours::peak_of;
pub(crate) use records::records;
pub use soak::soak;

use self::case::CaseFolder;
use self::clock::{Samples, Stages};
use self::ours::Ours;
use self::peer::{Allocator, Peer};
use crate::summary::Summary;

/// What to measure.
#[derive(Debug, Clone)]
pub struct DetectorOptions {
    /// What runs it.
    pub device: Device,
    /// Python with torchvision; without it only our own numbers.
    pub peer: Option<PathBuf>,
    /// PyTorch's name of the peer's device.
    pub peer_device: String,
    /// Times that each side runs after the first, which is cold.
    pub rounds: usize,
    /// Threads of each side.
    pub threads: usize,
    /// Cases, in order.
    pub cases: Vec<DetectorCase>,
    /// Also the peak memory of each side on the CPU, in processes of their own.
    pub with_memory: bool,
}

/// A stage of a case.
#[derive(Debug, Clone)]
pub struct DetectorRow {
    /// The case.
    pub case: DetectorCase,
    /// Name of the stage; `whole` is all of them.
    pub stage: String,
    /// Our times.
    pub ours: Summary,
    /// Those of the peer: as it is, and with the thresholds of glibc's malloc raised.
    pub peer: Option<[Summary; 2]>,
    /// A number that each side computes from the same inputs, in the row of the whole alone.
    pub checks: Vec<f64>,
    /// Peak memory of the process, in bytes, in the row of the whole alone.
    pub ours_bytes: Option<u64>,
    /// The same of the peer, as it is.
    pub peer_bytes: Option<u64>,
}

impl DetectorRow {
    /// Our median over that of the faster peer.
    pub fn ratio(&self) -> Option<f64> {
        let [plain, raised] = self.peer?.map(|times| times.median_ms);
        Some(self.ours.median_ms / plain.min(raised))
    }
}

/// What a side found in one step.
struct Step {
    stages: Stages,
    /// A number that the other side has to have as well.
    check: Option<f64>,
    /// For a look whether the sides did the same work.
    facts: String,
}

/// Runs the cases, the sides in turn; `report` hears what each side found, for a look whether they
/// did the same work.
///
/// # Errors
/// If a side fails, or files can't be written to the temporary folder.
pub fn measure(
    options: &DetectorOptions,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<DetectorRow>> {
    let mut rows = Vec::new();
    for &case in &options.cases {
        let folder = CaseFolder::new(case, options.threads, &options.peer_device)?;
        let python = options.peer.as_deref();
        if let Some(python) = python {
            peer::prepare(python, &folder)?;
        }
        let mut ours = Ours::new(&folder, &options.device)?;
        let mut peers = Vec::new();
        if let Some(python) = python {
            for allocator in [Allocator::Plain, Allocator::Raised] {
                peers.push(Peer::start(python, &folder, allocator)?);
            }
        }
        let mut samples = vec![Samples::default(); 1 + peers.len()];
        let mut checks = Vec::new();
        for round in 0..=options.rounds {
            let mut steps = vec![("ours", ours.run()?)];
            for peer in &mut peers {
                steps.push(("peer", peer.run(case)?));
            }
            for ((side, step), samples) in steps.into_iter().zip(&mut samples) {
                if round == 0 {
                    report(&format!("{case}, {side}: {}", step.facts));
                    checks.extend(step.check);
                }
                samples.push(step.stages);
            }
        }
        drop((ours, peers));
        let bytes = match (options.with_memory, python) {
            (true, Some(python)) => [
                Some(process::peak_of_ours(&folder)?),
                Some(process::peak_of_peer(python, &folder)?),
            ],
            (true, None) => [Some(process::peak_of_ours(&folder)?), None],
            (false, _) => [None, None],
        };
        rows.extend(rows_of(case, &samples, &checks, bytes)?);
    }
    Ok(rows)
}

fn rows_of(
    case: DetectorCase,
    samples: &[Samples],
    checks: &[f64],
    [ours_bytes, peer_bytes]: [Option<u64>; 2],
) -> Result<Vec<DetectorRow>> {
    let (ours, peers) = (&samples[0], &samples[1..]);
    let row = |stage: String| {
        let is_whole = stage == WHOLE;
        let peer = match peers {
            [plain, raised] => Some([plain.summary(&stage)?, raised.summary(&stage)?]),
            _ => None,
        };
        Ok(DetectorRow {
            case,
            ours: ours.summary(&stage)?,
            peer,
            stage,
            checks: if is_whole { checks.to_vec() } else { Vec::new() },
            ours_bytes: ours_bytes.filter(|_| is_whole),
            peer_bytes: peer_bytes.filter(|_| is_whole),
        })
    };
    ours.stages().into_iter().map(row).collect()
}
