//! Our side of a measurement.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::Device;
use longtail::kernels::set_fused;

use crate::memory::MemoryWatch;
use crate::operations::{Failure, Operation, build};
use crate::work::Case;

/// What a side tells after its first call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Start {
    pub(crate) cold_ms: f64,
    pub(crate) check: Option<f64>,
    pub(crate) peak_bytes: Option<u64>,
}

/// One that runs cases: we, or a peer.
pub(crate) trait Contestant {
    /// Makes the inputs and runs a case for the first time.
    fn start(&mut self, case: &Case) -> Result<Start, Failure>;

    /// Runs the case so many times; milliseconds of each.
    fn calls(&mut self, count: usize) -> Result<Vec<f64>, Failure>;

    /// Frees the inputs.
    fn finish(&mut self);
}

/// This library on a device.
pub(crate) struct Ours {
    device: Device,
    /// Whether the device has memory of its own.
    is_apart: bool,
    is_fused: bool,
    scratch: PathBuf,
    operation: Option<Box<dyn Operation>>,
}

impl Ours {
    pub(crate) fn new(device: Device, is_apart: bool, is_fused: bool, scratch: PathBuf) -> Self {
        Self { device, is_apart, is_fused, scratch, operation: None }
    }

    /// Runs with the fused forms allowed or not; a panic becomes a failure.
    fn guarded<T>(&self, run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        set_fused(self.is_fused);
        let result = catch_unwind(AssertUnwindSafe(run));
        set_fused(true);
        result.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(message.unwrap_or("panicked").into())
        })
    }
}

impl Contestant for Ours {
    fn start(&mut self, case: &Case) -> Result<Start, Failure> {
        let (start, operation) = self.guarded(|| {
            let mut operation = build(&case.work, case.pass, &self.device, &self.scratch)?;
            self.device.sync()?;
            let memory = MemoryWatch::start(self.is_apart.then_some(&self.device));
            let cold_ms = time(operation.as_mut())?;
            let peak_bytes = memory.peak();
            let check = operation.check()?;
            Ok((Start { cold_ms, check, peak_bytes }, operation))
        })?;
        self.operation = Some(operation);
        Ok(start)
    }

    fn calls(&mut self, count: usize) -> Result<Vec<f64>, Failure> {
        let Some(mut operation) = self.operation.take() else {
            return Err("no case was started".into());
        };
        let times = self.guarded(|| (0..count).map(|_| time(operation.as_mut())).collect())?;
        self.operation = Some(operation);
        Ok(times)
    }

    fn finish(&mut self) {
        self.operation = None;
    }
}

fn time(operation: &mut dyn Operation) -> Result<f64, Failure> {
    let start = Instant::now();
    operation.run()?;
    Ok(1e3 * start.elapsed().as_secs_f64())
}
