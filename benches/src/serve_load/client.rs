//! A client of HTTP/1.1 that can be as rude as it likes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The lines before the body, in lower case.
    pub head: String,
    /// The body, by its content length.
    pub body: Vec<u8>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Answered(Answer),
    /// The connection was closed without a byte of an answer.
    Dropped,
    /// The connection was closed in the middle of an answer.
    CutOff,
    /// Nothing happened for too long.
    Hung,
}

impl Outcome {
    /// Status of an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(answer) => Some(answer.status),
            _ => None,
        }
    }
}

/// The bytes of a `POST`.
pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Read, and not yet part of an answer.
    rest: Vec<u8>,
    patience: Duration,
}

impl Connection {
    /// Connects; an answer may take `patience`.
    /// # Errors
    /// If nobody listens.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, rest: Vec::new(), patience })
    }

    /// Sends bytes, whatever they are.
    /// # Errors
    /// If the other side has closed, or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        // A connection that is closed already is fine.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Sends a request and waits for its answer. One that is refused before it is sent in full is
    /// read all the same.
    pub fn ask(&mut self, request: &[u8]) -> Outcome {
        let _ = self.send(request);
        self.answer()
    }

    /// The next answer.
    pub fn answer(&mut self) -> Outcome {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(answer) = self.parsed() {
                return Outcome::Answered(answer);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return self.closed(),
                Ok(len) => self.rest.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Outcome::Hung,
                Err(_) => return self.closed(),
            }
            if Instant::now() > deadline {
                return Outcome::Hung;
            }
        }
    }

    fn closed(&self) -> Outcome {
        if self.rest.is_empty() { Outcome::Dropped } else { Outcome::CutOff }
    }

    /// Takes an answer off what was read, if it is whole.
    fn parsed(&mut self) -> Option<Answer> {
        let end = self.rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.rest[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(Some(0), |text| text.trim().parse().ok())?;
        if self.rest.len() < end + length {
            return None;
        }
        let body = self.rest[end..end + length].to_vec();
        self.rest.drain(..end + length);
        Some(Answer { status, head, body })
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
