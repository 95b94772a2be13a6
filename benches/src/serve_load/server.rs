//! A service in a process of its own.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// `longtail serve` on a free port of the loopback interface; killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts `program serve run` with more arguments and waits until the model is loaded.
    /// # Errors
    /// If it does not start or does not get ready; what it says goes to standard error.
    pub fn start(program: &Path, run: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg(run).args(["--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let Some(output) = child.stdout.take() else {
            return Err(io::Error::other("no output"));
        };
        let mut server =
            Self { child, output: BufReader::new(output), address: ([127, 0, 0, 1], 0).into() };
        let line = server.line()?;
        let address = line.strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        server.address = address.ok_or_else(|| io::Error::other(format!("it says {line:?}")))?;
        let line = server.line()?;
        if !line.starts_with("ready: ") {
            return Err(io::Error::other(format!("it says {line:?}")));
        }
        Ok(server)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its resident memory in bytes; `None` where the system does not tell.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
    }

    /// Sends the signal to end.
    /// # Errors
    /// If there is no `kill`.
    pub fn terminate(&self) -> io::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().map(drop)
    }

    /// Waits for the end: whether it was a good one, and what it said.
    /// # Errors
    /// If it does not end within `limit`.
    pub fn wait(mut self, limit: Duration) -> io::Result<(bool, String)> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let mut text = String::new();
                self.output.read_to_string(&mut text)?;
                return Ok((status.success(), text));
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the service does not end"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
