//! Files on loopback, and one report back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Most bytes of a report, and of a line of a request.
const MAX_REPORT: u64 = 16 << 20;
const MAX_LINE: u64 = 16 << 10;
/// A client that says nothing for this long is left.
const SILENCE: Duration = Duration::from_secs(10);

/// A server of files that ends with the program.
pub(super) struct Server {
    address: SocketAddr,
    reports: Receiver<Value>,
}

impl Server {
    /// Serves folders under prefixes of the path, the first that fits; `address` is on loopback.
    pub(super) fn start(address: &str, roots: Vec<(String, PathBuf)>) -> Result<Self> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (sender, reports) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (roots, sender) = (roots.clone(), sender.clone());
                // A browser that hangs up is no matter of ours.
                thread::spawn(move || drop(answer(&stream, &roots, &sender)));
            }
        });
        Ok(Self { address, reports })
    }

    /// `http://127.0.0.1:PORT/`
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The next body that is sent to `/report`.
    pub(super) fn report(&self, patience: Duration) -> Result<Value> {
        let seconds = patience.as_secs();
        self.reports.recv_timeout(patience).with_context(|| format!("nothing for {seconds} s"))
    }
}

fn answer(stream: &TcpStream, roots: &[(String, PathBuf)], reports: &Sender<Value>) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    let first = line(&mut reader)?;
    let mut length = 0;
    loop {
        let header = line(&mut reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match (method, path) {
        ("POST", "/report") if length <= MAX_REPORT => {
            let mut body = Vec::new();
            reader.take(length).read_to_end(&mut body)?;
            reports.send(serde_json::from_slice(&body)?)?;
            respond(stream, "204 No Content", "text/plain", b"")
        }
        ("GET", path) => {
            match file(path, roots).and_then(|path| Some((fs::read(&path).ok()?, path))) {
                Some((bytes, path)) => respond(stream, "200 OK", media_type(&path), &bytes),
                None => respond(stream, "404 Not Found", "text/plain", b"not found"),
            }
        }
        _ => respond(stream, "405 Method Not Allowed", "text/plain", b"not allowed"),
    }
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.take(MAX_LINE).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => bail!("a request that is cut off"),
    }
}

/// The file of a path, if it names nothing outside of the folders.
fn file(path: &str, roots: &[(String, PathBuf)]) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let (rest, root) = roots
        .iter()
        .find_map(|(prefix, root)| Some((path.strip_prefix(prefix.as_str())?, root)))?;
    let rest = if rest.is_empty() { "index.html" } else { rest };
    let is_inside = Path::new(rest).components().all(|part| matches!(part, Component::Normal(_)));
    is_inside.then(|| root.join(rest))
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

fn respond(mut stream: &TcpStream, status: &str, media_type: &str, body: &[u8]) -> Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    Ok(stream.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_come_and_a_report_goes() {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let roots = vec![("src/".to_owned(), manifest.join("src")), (String::new(), manifest)];
        let server = Server::start("127.0.0.1:0", roots).unwrap();
        let found = ask(&server, "GET /src/web/server.rs?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.contains("fn files_come"));
        for path in ["/none", "/../Cargo.toml", "/src/../../Cargo.toml", "/src//etc/passwd", "x"] {
            let answer = ask(&server, &format!("GET {path} HTTP/1.1\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        }
        let report = "POST /report HTTP/1.1\r\nContent-Length: 8\r\n\r\n{\"a\": 1}";
        assert!(ask(&server, report).starts_with("HTTP/1.1 204"));
        assert_eq!(server.report(Duration::from_secs(5)).unwrap()["a"], 1);
        assert!(server.report(Duration::from_millis(1)).is_err());
        assert!(ask(&server, "PUT / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    }
}
