//! Runs the cases: the sides take turns, so that whatever else slows the machine meets all.

use std::path::PathBuf;

use burn::tensor::Device;

use crate::BenchError;
use crate::cases::cases;
use crate::detector::{self, DetectorOptions};
use crate::machine::{Machine, today};
use crate::memory;
use crate::operations::Failure;
use crate::ours::{Contestant, Ours, Start};
use crate::peer::{Peer, PeerCommand, PeerVersions, Scratch, peer_device};
use crate::report::{Measurement, Outcome, Record, Report, Session, Side, SideRecord};
use crate::summary::Summary;
use crate::work::{Case, Suite, Work};

/// Version of Burn that this workspace pins.
const BURN: &str = "0.22.1";

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Devices by name, as [`longtail::device`] takes them.
    pub devices: Vec<String>,
    /// The suites.
    pub suites: Vec<Suite>,
    /// A Python with torch and torchvision, to run beside us. Default: none.
    pub peer: Option<PathBuf>,
    /// Turns of each side. Default: 5.
    pub rounds: usize,
    /// Milliseconds of each turn, roughly. Default: 100.
    pub turn_ms: f64,
    /// Threads of each side on a CPU. Default: as many as the machine has cores.
    pub threads: Option<usize>,
    /// A few small cases that show that everything runs. Default: false.
    pub is_quick: bool,
    /// Only cases whose name and pass, such as `3x3 64→64 @ 80 forward`, contain this. Default: all.
    pub only: Option<String>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            devices: vec!["flex".into()],
            suites: Suite::ALL.into(),
            peer: None,
            rounds: 5,
            turn_ms: 100.0,
            threads: None,
            is_quick: false,
            only: None,
        }
    }
}

/// Runs everything; `progress` sees each record as it is made.
///
/// Suites of the host alone run once, with the first device.
///
/// # Errors
/// If a device or the peer cannot be used, or there is nothing to run. A case that fails is a
/// record that says so.
pub fn run(
    options: &BenchOptions,
    progress: &mut dyn FnMut(&Record),
) -> Result<Report, BenchError> {
    check(options)?;
    let threads = use_threads(options.threads)?;
    let devices: Vec<(&String, Device)> = options
        .devices
        .iter()
        .map(|name| Ok((name, longtail::device(name)?)))
        .collect::<Result<_, BenchError>>()?;
    let scratch = Scratch::new()?;
    let mut sessions = Vec::new();
    for (index, (name, device)) in devices.into_iter().enumerate() {
        let command = options.peer.as_ref().map(|python| PeerCommand {
            python: python.clone(),
            threads,
            device: peer_device(name),
            scratch: scratch.path().into(),
        });
        let mut sides = Sides::new(&device, is_apart(name), command, &scratch)?;
        let mut session = Session {
            device: name.clone(),
            device_name: device_name(name, &device),
            machine: Machine::here(),
            date: today(),
            threads,
            longtail: env!("CARGO_PKG_VERSION").into(),
            burn: BURN.into(),
            peer: sides.versions.clone(),
            rounds: options.rounds,
            is_quick: options.is_quick,
            records: Vec::new(),
            notes: Vec::new(),
        };
        for case in selected(options, index == 0)? {
            if let Some(note) = too_large(&case, sides.peers.len()) {
                session.notes.push(note);
                continue;
            }
            let records = match &case.work {
                Work::Detector { step, .. } => {
                    let options = DetectorOptions {
                        device: device.clone(),
                        peer: options.peer.clone(),
                        peer_device: peer_device(name).into(),
                        rounds: options.rounds,
                        threads,
                        cases: vec![*step],
                        with_memory: false,
                    };
                    detector::records(&case, &options)
                }
                _ => vec![sides.measure(case, options)],
            };
            records.iter().for_each(&mut *progress);
            session.records.extend(records);
        }
        sessions.push(session);
    }
    Ok(Report::new(sessions))
}

fn check(options: &BenchOptions) -> Result<(), BenchError> {
    let positive = |name, value: f64, text: String| match value > 0.0 {
        true => Ok(()),
        false => Err(BenchError::Setting { name, expected: "positive", value: text }),
    };
    positive("rounds", options.rounds as f64, options.rounds.to_string())?;
    positive("the time of a turn", options.turn_ms, options.turn_ms.to_string())?;
    let threads = options.threads.unwrap_or(1);
    positive("threads", threads as f64, threads.to_string())
}

/// Fixes the number of threads of this process.
fn use_threads(threads: Option<usize>) -> Result<usize, BenchError> {
    let Some(threads) = threads else { return Ok(rayon::current_num_threads()) };
    let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let found = rayon::current_num_threads();
    match built {
        Err(error) if found != threads => {
            let reason = format!("{error} Its number is {found}");
            Err(BenchError::Threads { threads, reason })
        }
        _ => Ok(threads),
    }
}

fn selected(options: &BenchOptions, is_first: bool) -> Result<Vec<Case>, BenchError> {
    let mut suites = options.suites.clone();
    suites.sort();
    suites.dedup();
    let all = suites.iter().flat_map(|&suite| cases(suite, options.is_quick));
    let only = options.only.as_deref().unwrap_or_default();
    let chosen: Vec<Case> =
        all.filter(|case| format!("{} {}", case.name, case.pass).contains(only)).collect();
    if chosen.is_empty() {
        let suites: Vec<&str> = suites.iter().map(|suite| suite.name()).collect();
        return Err(BenchError::NoCase { suites: suites.join(", "), only: only.into() });
    }
    Ok(chosen.into_iter().filter(|case| is_first || !case.suite.is_host_only()).collect())
}

/// A sentence, if the case would not fit into the memory that is free.
fn too_large(case: &Case, num_peers: usize) -> Option<String> {
    let needed = case.work.peak_bytes() * (1 + num_peers as u64);
    let free = memory::available()?;
    (needed > free).then(|| {
        let [needed, free] = [needed, free].map(|bytes| bytes as f64 / 1e9);
        let Case { suite, name, .. } = case;
        format!("{suite}: {name} left out: needs up to {needed:.0} GB, {free:.0} GB are free")
    })
}

/// Whether a device has memory of its own.
fn is_apart(name: &str) -> bool {
    peer_device(name) != "cpu"
}

fn device_name(name: &str, device: &Device) -> String {
    #[cfg(any(
        feature = "cpu",
        feature = "wgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "webgpu",
        feature = "cuda",
        feature = "rocm"
    ))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    if is_apart(name) { format!("{device:?}") } else { Machine::here().cpu }
}

/// Those who take part.
struct Sides {
    ours: Ours,
    composed: Ours,
    peers: Vec<(Side, Peer)>,
    versions: Option<PeerVersions>,
}

impl Sides {
    fn new(
        device: &Device,
        is_apart: bool,
        command: Option<PeerCommand>,
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let ours = |is_fused| Ours::new(device.clone(), is_apart, is_fused, scratch.path().into());
        let mut sides =
            Self { ours: ours(true), composed: ours(false), peers: Vec::new(), versions: None };
        if let Some(command) = command {
            let mut peer = Peer::new(command.clone(), false);
            let versions = peer.versions()?;
            sides.peers.push((Side::Peer, peer));
            // Memory of a GPU is not glibc's.
            if versions.device == "cpu" && cfg!(target_os = "linux") {
                sides.peers.push((Side::PeerRaised, Peer::new(command, true)));
            }
            sides.versions = Some(versions);
        }
        Ok(sides)
    }

    fn measure(&mut self, case: Case, options: &BenchOptions) -> Record {
        let mut turns: Vec<Turns> = vec![Turns::new(Side::Ours, &mut self.ours)];
        if case.suite == Suite::RoiAlign {
            turns.push(Turns::new(Side::Composed, &mut self.composed));
        }
        turns.extend(self.peers.iter_mut().map(|(side, peer)| Turns::new(*side, peer)));
        for side in &mut turns {
            side.start(&case);
        }
        for round in 0..options.rounds {
            let first = round % turns.len();
            let (end, start) = turns.split_at_mut(first);
            start.iter_mut().chain(end).for_each(|side| side.take(options.turn_ms));
        }
        let sides = turns.into_iter().map(Turns::finish).collect();
        Record { case, sides }
    }
}

/// The turns of one side of a case.
struct Turns<'a> {
    side: Side,
    contestant: &'a mut dyn Contestant,
    start: Result<Start, Failure>,
    times: Vec<f64>,
}

impl<'a> Turns<'a> {
    fn new(side: Side, contestant: &'a mut dyn Contestant) -> Self {
        Self { side, contestant, start: Err("did not start".into()), times: Vec::new() }
    }

    fn start(&mut self, case: &Case) {
        self.start = self.contestant.start(case);
    }

    /// One call to warm up, then as many as fit into the time. Where one call fills it, that one
    /// counts: the first call of the process was not it.
    fn take(&mut self, turn_ms: f64) {
        if self.start.is_err() {
            return;
        }
        if let Err(failure) = self.try_take(turn_ms) {
            self.start = Err(failure);
        }
    }

    fn try_take(&mut self, turn_ms: f64) -> Result<(), Failure> {
        // Threads of the side before may still spin.
        std::thread::sleep(std::time::Duration::from_millis(3));
        let first = self.contestant.calls(1)?;
        let estimate = first.iter().copied().fold(1e-3, f64::max);
        let count = (turn_ms / estimate).min(200.0) as usize;
        if count < 2 {
            self.times.extend(first);
        } else {
            self.times.extend(self.contestant.calls(count)?);
        }
        Ok(())
    }

    fn finish(self) -> SideRecord {
        self.contestant.finish();
        let outcome = self.start.and_then(|Start { cold_ms, check, peak_bytes }| {
            let times = Summary::new(cold_ms, self.times).ok_or("no call was timed")?;
            Ok(Measurement { times, peak_bytes, check })
        });
        let outcome = match outcome {
            Ok(measurement) => Outcome::Measured(measurement),
            Err(failure) => Outcome::Failed(failure.to_string()),
        };
        SideRecord { side: self.side, outcome }
    }
}
