//! Requests that are wrong, each in one way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use longtail_data::{KeyedRng, Stream};

use super::bomb::png_head;
use super::client::{Connection, Outcome, post};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BadKind {
    Garbage,
    UnknownPath,
    WrongMethod,
    BadQuery,
    EmptyBody,
    NotAnImage,
    CutImage,
    DamagedImage,
    PixelBomb,
    HugeLength,
    HugeChunks,
    CutOffBody,
    SlowHead,
    SlowBody,
    HugeHead,
    BadChunks,
    BadForm,
}

impl BadKind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Garbage,
        Self::UnknownPath,
        Self::WrongMethod,
        Self::BadQuery,
        Self::EmptyBody,
        Self::NotAnImage,
        Self::CutImage,
        Self::DamagedImage,
        Self::PixelBomb,
        Self::HugeLength,
        Self::HugeChunks,
        Self::CutOffBody,
        Self::SlowHead,
        Self::SlowBody,
        Self::HugeHead,
        Self::BadChunks,
        Self::BadForm,
    ];

    /// Statuses that are right, and whether a closed connection is.
    fn right(self) -> (&'static [u16], bool) {
        match self {
            Self::Garbage | Self::BadChunks => (&[400], true),
            Self::UnknownPath => (&[404], false),
            Self::WrongMethod => (&[405], false),
            Self::BadQuery | Self::EmptyBody | Self::CutImage | Self::BadForm => (&[400], false),
            Self::NotAnImage => (&[415], false),
            // A changed byte may leave an image, if not the same.
            Self::DamagedImage => (&[200, 400, 413, 415], false),
            Self::PixelBomb => (&[413], false),
            Self::HugeLength => (&[413], false),
            Self::HugeChunks => (&[413], true),
            Self::CutOffBody => (&[400], true),
            Self::SlowHead => (&[408], true),
            Self::SlowBody => (&[408], true),
            Self::HugeHead => (&[431], true),
        }
    }
}

/// What came of the requests of one kind.
#[derive(Clone, Copy, Debug)]
pub struct BadResult {
    /// The kind.
    pub kind: BadKind,
    /// How many were sent.
    pub sent: u64,
    /// How many got a status that is right for the kind.
    pub refused: u64,
    /// How many connections were closed without an answer, where that is right.
    pub dropped: u64,
    /// What came of the first of the others.
    pub wrong: Option<u16>,
    /// How many others there are, those that hung among them.
    pub num_wrong: u64,
}

/// Sends `count` requests of all kinds in turn from `threads` threads.
///
/// `image` is a good image to spoil; `max_body` is the service's limit, and `patience` is longer than
/// its timeouts.
pub fn bad_requests(
    address: SocketAddr,
    image: &[u8],
    count: usize,
    threads: usize,
    max_body: usize,
    patience: Duration,
) -> Vec<BadResult> {
    let next = AtomicUsize::new(0);
    let new = |kind| BadResult { kind, sent: 0, refused: 0, dropped: 0, wrong: None, num_wrong: 0 };
    let mut results: Vec<BadResult> = BadKind::ALL.into_iter().map(new).collect();
    let work = || {
        let mut seen = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return seen;
            }
            let kind = index % BadKind::ALL.len();
            let mut rng = KeyedRng::new(index as u64, Stream::Synthetic, 0, 0);
            let outcome = match Connection::open(address, patience) {
                Ok(connection) => {
                    let request = Request { connection, image, max_body, rng: &mut rng };
                    request.send(BadKind::ALL[kind])
                }
                Err(_) => Outcome::Hung,
            };
            seen.push((kind, outcome));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for (kind, outcome) in
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default())
        {
            results[kind].add(&outcome);
        }
    });
    results
}

impl BadResult {
    fn add(&mut self, outcome: &Outcome) {
        let (statuses, may_drop) = self.kind.right();
        self.sent += 1;
        match outcome {
            Outcome::Answered(answer) if statuses.contains(&answer.status) => self.refused += 1,
            Outcome::Dropped if may_drop => self.dropped += 1,
            other => {
                self.num_wrong += 1;
                self.wrong = self.wrong.or(Some(other.status().unwrap_or(0)));
            }
        }
    }
}

struct Request<'a> {
    connection: Connection,
    image: &'a [u8],
    max_body: usize,
    rng: &'a mut KeyedRng,
}

impl Request<'_> {
    fn below(&mut self, limit: usize) -> usize {
        self.rng.below(limit)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn choose<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn send(mut self, kind: BadKind) -> Outcome {
        let image = self.image.to_vec();
        match kind {
            BadKind::Garbage => {
                let len = 1 + self.below(300);
                let garbage = [self.bytes(len), b"\r\n\r\n".to_vec()].concat();
                self.connection.ask(&garbage)
            }
            BadKind::UnknownPath => {
                let path =
                    self.choose(&["/predict/", "/admin", "/../etc/passwd", "/%00", "/Predict"]);
                self.connection.ask(&post(path, &image))
            }
            BadKind::WrongMethod => {
                let line =
                    self.choose(&["GET /predict", "PUT /predict", "DELETE /", "POST /healthz"]);
                self.connection.ask(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            }
            BadKind::BadQuery => {
                let query = self.choose(&[
                    "format=xml",
                    "min_score=2",
                    "min_score=NaN",
                    "max_detections=0",
                    "nothing=1",
                    "min_score=0.1&min_score=0.2",
                    "max_detections=1e9",
                    "top=-1",
                ]);
                self.connection.ask(&post(&format!("/predict?{query}"), &image))
            }
            BadKind::EmptyBody => self.connection.ask(&post("/predict", b"")),
            BadKind::NotAnImage => {
                let start =
                    self.choose(&["GIF89a", "RIFF\0\0\0\0WEBPVP8 ", "%PDF-1.7", "{}", "\u{1}"]);
                let more = self.bytes(200);
                self.connection.ask(&post("/predict", &[start.as_bytes(), &more].concat()))
            }
            BadKind::CutImage => {
                let len = 8 + self.below(image.len() - 16);
                self.connection.ask(&post("/predict", &image[..len]))
            }
            BadKind::DamagedImage => {
                let mut image = image;
                for _ in 0..1 + self.below(8) {
                    let place = self.below(image.len());
                    image[place] = self.below(256) as u8;
                }
                self.connection.ask(&post("/predict", &image))
            }
            BadKind::PixelBomb => {
                let side = 20_000 + self.below(40_000) as u32;
                self.connection.ask(&post("/predict", &png_head(side)))
            }
            BadKind::HugeLength => {
                let length = self.max_body + 1 + self.below(1 << 40);
                let head = head(&format!("Content-Length: {length}"));
                self.connection.ask(&[head.as_bytes(), &image].concat())
            }
            BadKind::HugeChunks => self.huge_chunks(),
            BadKind::CutOffBody => {
                let request = post("/predict", &image);
                let len = request.len() - 1 - self.below(image.len() - 1);
                let _ = self.connection.send(&request[..len]);
                self.connection.finish();
                self.connection.answer()
            }
            BadKind::SlowHead => {
                let request = post("/predict", &image);
                let len = 1 + self.below(20);
                self.connection.ask(&request[..len])
            }
            BadKind::SlowBody => {
                let request = post("/predict", &image);
                let len = request.len() - 1 - self.below(image.len() - 1);
                self.connection.ask(&request[..len])
            }
            BadKind::HugeHead => {
                let value = "a".repeat(20_000 + self.below(50_000));
                self.connection.ask(head(&format!("X-Long: {value}")).as_bytes())
            }
            BadKind::BadChunks => {
                let body =
                    self.choose(&["zz\r\nabc\r\n", "-5\r\nabc\r\n", "3\r\nabcdef\r\n0\r\n\r\n"]);
                let head = head("Transfer-Encoding: chunked");
                self.connection.ask(&[head.as_bytes(), body.as_bytes()].concat())
            }
            BadKind::BadForm => {
                let kind = self.choose(&["", "; boundary=", "; boundary=abc"]);
                let content = format!("Content-Type: multipart/form-data{kind}");
                let length = format!("{content}\r\nContent-Length: {}", image.len());
                self.connection.ask(&[head(&length).as_bytes(), &image].concat())
            }
        }
    }

    /// Chunks without end, until the service has enough.
    fn huge_chunks(&mut self) -> Outcome {
        let chunk = [b"10000\r\n".as_slice(), &[7; 0x10000], b"\r\n"].concat();
        let mut is_taken =
            self.connection.send(head("Transfer-Encoding: chunked").as_bytes()).is_ok();
        let mut sent = 0;
        while is_taken && sent < 2 * self.max_body + (1 << 20) {
            is_taken = self.connection.send(&chunk).is_ok();
            sent += 0x10000;
        }
        self.connection.answer()
    }
}

fn head(line: &str) -> String {
    format!("POST /predict HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
}
