//! The PyTorch side, a process that answers one request at a time.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Settings of glibc that keep large blocks instead of returning them to the system.
const KEEP_MEMORY: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TOP_PAD_", "268435456"),
];

/// The process.
pub(crate) struct Peer {
    process: Child,
}

impl Peer {
    /// `keeps_memory`: with glibc's thresholds raised, which is faster at large outputs.
    pub(crate) fn new(
        python: &str,
        threads: usize,
        keeps_memory: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peer/conv.py"))
            .arg(threads.to_string())
            .envs(KEEP_MEMORY.into_iter().filter(|_| keeps_memory))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process })
    }

    /// Milliseconds of forward, and of forward and backward pass, of every repetition.
    pub(crate) fn time(
        &mut self,
        request: &str,
        repetitions: usize,
    ) -> Result<Vec<[f64; 2]>, Box<dyn Error>> {
        let closed = || "the peer has closed";
        writeln!(self.process.stdin.as_mut().ok_or_else(closed)?, "{request} {repetitions}")?;
        let mut answer = String::new();
        let mut output = self.process.stdout.as_mut().ok_or_else(closed)?;
        // One line per request, so nothing is lost in this reader.
        BufReader::with_capacity(1, &mut output).read_line(&mut answer)?;
        let times: Vec<f64> =
            answer.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let (pairs, _) = times.as_chunks::<2>();
        Ok(pairs.to_vec())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
