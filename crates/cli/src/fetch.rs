//! Downloads that survive interruptions and are believed only by their checksum.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// Where downloads are kept: `$LONGTAIL_CACHE`, else `longtail` in the user's cache folder.
/// # Errors
/// If neither is known.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let folder = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(own) = folder("LONGTAIL_CACHE") {
        return Ok(own.into());
    }
    if let Some(cache) = folder("XDG_CACHE_HOME").or_else(|| folder("LOCALAPPDATA")) {
        return Ok(PathBuf::from(cache).join("longtail"));
    }
    let home = folder("HOME").context("no cache folder: set LONGTAIL_CACHE to a folder")?;
    Ok(PathBuf::from(home).join(".cache/longtail"))
}

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Download<'a> {
    /// Where it comes from.
    pub(crate) url: &'a str,
    /// SHA-256 in hexadecimal digits, or as many of its first digits as are known.
    pub(crate) sha256: &'a str,
}

/// Fetches a file unless it is there with the right checksum. What an earlier attempt left is
/// continued. `progress` is told the bytes there are and, if known, all bytes.
/// # Errors
/// If the server cannot be reached or refuses, the connection breaks (what came is kept for the
/// next attempt), the file cannot be written, or the checksum is wrong (then nothing is kept).
pub(crate) fn fetch(
    download: Download,
    path: &Path,
    mut progress: impl FnMut(u64, Option<u64>),
) -> anyhow::Result<()> {
    let Download { url, sha256 } = download;
    if path.exists() && checksum(path)?.starts_with(sha256) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".partial-{name}"));
    receive(url, &partial, &mut progress).with_context(|| format!("cannot fetch {url}"))?;
    let found = checksum(&partial)?;
    if !found.starts_with(sha256) {
        // It can't be continued to the right file.
        let _ = fs::remove_file(&partial);
        bail!("{url} has the SHA-256 {found}, it should be {sha256}; nothing is kept");
    }
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Brings `partial` to its full length.
fn receive(
    url: &str,
    partial: &Path,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> anyhow::Result<()> {
    let written = || format!("cannot write {}", partial.display());
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(partial)
        .with_context(written)?;
    let mut have = file.seek(SeekFrom::End(0)).with_context(written)?;
    let agent = agent();
    let request = agent.get(url);
    let request =
        if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
    let mut response = request.call()?;
    // A file that is whole already, or longer than the server's, cannot be continued.
    if response.status() == 416 {
        response = agent.get(url).call()?;
    }
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let continues = format!("bytes {have}-");
    match status {
        206 if header("content-range").is_some_and(|range| range.starts_with(&continues)) => {}
        200 => {
            file.set_len(0).with_context(written)?;
            have = file.seek(SeekFrom::Start(0)).with_context(written)?;
        }
        206 => bail!("the server sent another part than the one asked for"),
        404 => bail!("the server does not have it (404)"),
        status => bail!("the server answered {status}"),
    }
    let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
    let total = length.map(|length| have + length);
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(have, total);
        match reader.read(&mut buffer).context("the connection broke; run it again to go on")? {
            0 => break,
            count => file.write_all(&buffer[..count]).with_context(written)?,
        }
        have = file.stream_position().with_context(written)?;
    }
    file.sync_all().with_context(written)?;
    match total.filter(|&total| have < total) {
        Some(total) => {
            bail!("the connection broke after {have} of {total} bytes; run it again to go on")
        }
        None => Ok(()),
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .user_agent(concat!("longtail/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

/// SHA-256 of a file in hexadecimal digits.
/// # Errors
/// If it cannot be read.
pub(crate) fn checksum(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(failed)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::*;

    /// How the server behaves.
    #[derive(Clone, Copy, PartialEq)]
    enum Manner {
        /// Sends what is asked for.
        Whole,
        /// Closes after so many bytes of the answer.
        Cut(usize),
        /// Takes no notice of ranges.
        NoRanges,
        /// Knows nothing.
        Missing,
    }

    /// A server of one file on the loopback device, and the ranges it was asked for.
    struct Server {
        url: String,
        manner: Arc<Mutex<Manner>>,
        ranges: Arc<Mutex<Vec<Option<String>>>>,
    }

    impl Server {
        fn new(content: Vec<u8>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/weights.pth", listener.local_addr().unwrap());
            let manner = Arc::new(Mutex::new(Manner::Whole));
            let ranges = Arc::new(Mutex::new(Vec::new()));
            let (shared, log) = (manner.clone(), ranges.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    answer(stream, &content, *shared.lock().unwrap(), &log);
                }
            });
            Self { url, manner, ranges }
        }

        fn behave(&self, manner: Manner) {
            *self.manner.lock().unwrap() = manner;
        }
    }

    fn answer(
        mut stream: TcpStream,
        content: &[u8],
        manner: Manner,
        log: &Mutex<Vec<Option<String>>>,
    ) {
        let mut range = None;
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap();
            if line.is_empty() {
                break;
            }
            let lower = line.to_lowercase();
            range = range.or(lower.strip_prefix("range: bytes=").map(str::to_string));
        }
        log.lock().unwrap().push(range.clone());
        if manner == Manner::Missing {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        let start = range.filter(|_| manner != Manner::NoRanges);
        let start = start.map(|range| range.trim_end_matches('-').parse::<usize>().unwrap());
        let total = content.len();
        let (status, body) = match start {
            Some(start) if start >= total => ("416 Range Not Satisfiable", &content[..0]),
            Some(start) => ("206 Partial Content", &content[start..]),
            None => ("200 OK", content),
        };
        let first = start.unwrap_or(0);
        let range = format!("Content-Range: bytes {first}-{}/{total}\r\n", total.max(1) - 1);
        let range = if status.starts_with("206") { range } else { String::new() };
        let head = format!("HTTP/1.1 {status}\r\n{range}Content-Length: {}\r\n\r\n", body.len());
        let body = match manner {
            Manner::Cut(bytes) => &body[..bytes.min(body.len())],
            _ => body,
        };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }

    fn content() -> Vec<u8> {
        (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn sha256(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_broken_download_goes_on_where_it_broke() {
        let (content, folder) = (content(), tempfile::tempdir().unwrap());
        let (server, path) = (Server::new(content.clone()), folder.path().join("deep/w.pth"));
        let sum = sha256(&content);
        let download = Download { url: &server.url, sha256: &sum };
        server.behave(Manner::Cut(100_000));
        let error = fetch(download, &path, |_, _| ()).unwrap_err();
        assert!(format!("{error:#}").contains("run it again"), "{error:#}");
        assert!(!path.exists());

        server.behave(Manner::Whole);
        let mut seen = Vec::new();
        fetch(download, &path, |have, total| seen.push((have, total))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(seen.first(), Some(&(100_000, Some(300_000))));
        assert_eq!(seen.last(), Some(&(300_000, Some(300_000))));
        assert_eq!(*server.ranges.lock().unwrap(), [None, Some("100000-".into())]);
        assert_eq!(names(path.parent().unwrap()), ["w.pth"]);

        // A third call asks nobody; the first digits of the checksum are enough.
        let download = Download { sha256: &sum[..8], ..download };
        fetch(download, &path, |_, _| ()).unwrap();
        assert_eq!(server.ranges.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_server_without_ranges_starts_anew() {
        let (content, folder) = (content(), tempfile::tempdir().unwrap());
        let (server, path) = (Server::new(content.clone()), folder.path().join("w.pth"));
        fs::write(folder.path().join(".partial-w.pth"), b"left from before").unwrap();
        server.behave(Manner::NoRanges);
        let download = Download { url: &server.url, sha256: &sha256(&content) };
        fetch(download, &path, |_, _| ()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }

    #[test]
    fn a_leftover_that_is_too_long_starts_anew() {
        let (content, folder) = (content(), tempfile::tempdir().unwrap());
        let (server, path) = (Server::new(content.clone()), folder.path().join("w.pth"));
        fs::write(folder.path().join(".partial-w.pth"), vec![7; 300_001]).unwrap();
        let download = Download { url: &server.url, sha256: &sha256(&content) };
        fetch(download, &path, |_, _| ()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }

    #[test]
    fn wrong_content_is_not_kept() {
        let (content, folder) = (content(), tempfile::tempdir().unwrap());
        let (server, path) = (Server::new(content), folder.path().join("w.pth"));
        let download = Download { url: &server.url, sha256: &"0".repeat(64) };
        let message = format!("{:#}", fetch(download, &path, |_, _| ()).unwrap_err());
        assert!(message.contains("SHA-256") && message.contains(&server.url), "{message}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn refusals_name_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let (server, path) = (Server::new(content()), folder.path().join("w.pth"));
        server.behave(Manner::Missing);
        let sum = "0".repeat(64);
        let message = |url: &str| {
            format!("{:#}", fetch(Download { url, sha256: &sum }, &path, |_, _| ()).unwrap_err())
        };
        let missing = message(&server.url);
        assert!(missing.contains(&server.url) && missing.contains("404"), "{missing}");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let nobody = message(&format!("http://{closed}/w.pth"));
        assert!(nobody.contains(&closed.to_string()), "{nobody}");
    }
}
