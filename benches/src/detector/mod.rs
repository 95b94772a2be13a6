//! Mask R-CNN step by stage beside torchvision: training, inference, and whether memory stays flat.
//!
//! [`measure`] gives rows of case, stage and milliseconds. Both sides have the same random weights
//! and images, the same objects, and the same limits on anchors, proposals and regions.

mod case;
mod clock;
mod ours;
mod peer;
mod process;
mod soak;

use std::path::PathBuf;

use anyhow::Result;

pub use case::DetectorCase;
pub use ours::peak_of;
pub use soak::soak;

use self::case::CaseFolder;
use self::clock::{Samples, Stages};
use self::ours::Ours;
use self::peer::{Allocator, Peer};

/// What to measure.
#[derive(Debug, Clone)]
pub struct DetectorOptions {
    /// Python with torchvision; without it only our own numbers.
    pub peer: Option<PathBuf>,
    /// Times that each side runs; the first one does not count.
    pub rounds: usize,
    /// Threads of each side.
    pub threads: usize,
    /// Cases, in order.
    pub cases: Vec<DetectorCase>,
    /// Also the peak memory of each side, in processes of their own.
    pub with_memory: bool,
}

/// A stage of a case.
#[derive(Debug, Clone)]
pub struct DetectorRow {
    /// The case.
    pub case: DetectorCase,
    /// Name of the stage; `whole` is all of them.
    pub stage: String,
    /// Median milliseconds.
    pub ours_ms: f64,
    /// The same of the peer: as it is, and with the thresholds of glibc's malloc raised.
    pub peer_ms: Option<[f64; 2]>,
    /// Peak memory of the process, in bytes, in the row of the whole alone.
    pub ours_bytes: Option<u64>,
    /// The same of the peer, as it is.
    pub peer_bytes: Option<u64>,
}

impl DetectorRow {
    /// Our time over that of the faster peer.
    pub fn ratio(&self) -> Option<f64> {
        self.peer_ms.map(|[plain, raised]| self.ours_ms / plain.min(raised))
    }
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
        let folder = CaseFolder::new(case, options.threads)?;
        let python = options.peer.as_deref();
        if let Some(python) = python {
            peer::prepare(python, &folder)?;
        }
        let mut ours = Ours::new(&folder)?;
        let mut peers = Vec::new();
        if let Some(python) = python {
            for allocator in [Allocator::Plain, Allocator::Raised] {
                peers.push(Peer::start(python, &folder, allocator)?);
            }
        }
        let mut samples = vec![Samples::default(); 1 + peers.len()];
        for round in 0..=options.rounds {
            let (stages, facts) = ours.run()?;
            if round == 0 {
                report(&format!("{case}, ours: {facts}"));
            } else {
                samples[0].push(stages);
            }
            for (peer, samples) in peers.iter_mut().zip(&mut samples[1..]) {
                let (stages, facts) = peer.run(case)?;
                if round == 0 {
                    report(&format!("{case}, peer: {facts}"));
                } else {
                    samples.push(stages);
                }
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
        rows.extend(rows_of(case, &samples, bytes));
    }
    Ok(rows)
}

fn rows_of(
    case: DetectorCase,
    samples: &[Samples],
    [ours_bytes, peer_bytes]: [Option<u64>; 2],
) -> Vec<DetectorRow> {
    let of = |side: usize| samples.get(side).map(Samples::medians);
    let (ours, plain, raised) = (of(0).unwrap_or_default(), of(1), of(2));
    let at = |stages: &Option<Stages>, stage: &str| stages.as_ref().map(|stages| stages.get(stage));
    let row = |(stage, ours_ms): &(String, f64)| {
        let is_whole = stage == clock::WHOLE;
        DetectorRow {
            case,
            stage: stage.clone(),
            ours_ms: *ours_ms,
            peer_ms: at(&plain, stage).zip(at(&raised, stage)).map(|(a, b)| [a, b]),
            ours_bytes: ours_bytes.filter(|_| is_whole),
            peer_bytes: peer_bytes.filter(|_| is_whole),
        }
    };
    ours.iter().map(row).collect()
}
