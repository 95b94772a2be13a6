//! Many clients at once, each of which knows the answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Connection, Outcome, post};

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Where the service is.
    pub address: SocketAddr,
    /// Path and query.
    pub target: &'a str,
    /// Bodies to send.
    pub images: &'a [Vec<u8>],
    /// The answers to them.
    pub expected: &'a [Vec<u8>],
    /// How many clients.
    pub clients: usize,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What clients saw.
#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    /// Right answers.
    pub right: u64,
    /// Answers with another body or status.
    pub wrong: u64,
    /// Answers that did not come whole, or not at all on a connection that was just opened.
    pub lost: u64,
    /// Answers 503, after which the client tries again.
    pub busy: u64,
    /// Connections that the service closed between two requests, or refused.
    pub closed: u64,
    /// Milliseconds of each right answer, sorted.
    pub latencies: Vec<f32>,
    /// The first wrong or lost answer.
    pub example: Option<String>,
}

impl LoadResult {
    /// Milliseconds that a share of the answers took at most.
    pub fn percentile(&self, share: f64) -> f32 {
        let place = (share * self.latencies.len() as f64) as usize;
        self.latencies
            .get(place.min(self.latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }

    /// All whole answers.
    pub fn answers(&self) -> u64 {
        self.right + self.wrong + self.busy
    }

    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.busy += other.busy;
        self.closed += other.closed;
        self.latencies.extend(other.latencies);
        self.example = self.example.take().or(other.example);
    }
}

/// The answer to each image while nothing else is asked. `Err` has the first that is not 200.
pub fn answers_alone(
    address: SocketAddr,
    target: &str,
    images: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, String> {
    let patience = Duration::from_secs(60);
    let answer = |image: &Vec<u8>| {
        let mut connection =
            Connection::open(address, patience).map_err(|error| error.to_string())?;
        match connection.ask(&post(target, image)) {
            Outcome::Answered(answer) if answer.status == 200 => Ok(answer.body),
            other => Err(format!("{other:?}")),
        }
    };
    images.iter().map(answer).collect()
}

/// Runs the clients until `stop`; each then waits for its last answer. Half of them keep their
/// connections, the others open a new one for every request.
pub fn run_clients(load: &Load<'_>, stop: &AtomicBool) -> LoadResult {
    let mut result = LoadResult::default();
    thread::scope(|scope| {
        let start = |client| scope.spawn(move || run_client(load, client, stop));
        let clients: Vec<_> = (0..load.clients).map(start).collect();
        for client in clients {
            match client.join() {
                Ok(seen) => result.add(seen),
                Err(_) => result.lost += 1,
            }
        }
    });
    result.latencies.sort_by(f32::total_cmp);
    result
}

fn run_client(load: &Load<'_>, client: usize, stop: &AtomicBool) -> LoadResult {
    let mut result = LoadResult::default();
    let keeps = client.is_multiple_of(2);
    let mut kept: Option<Connection> = None;
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let place = (client * 7 + round) % load.images.len();
        let is_fresh = kept.is_none();
        let opened = kept.take().map_or_else(|| Connection::open(load.address, load.patience), Ok);
        let Ok(mut connection) = opened else {
            // Nobody listens (any more).
            result.closed += 1;
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let start = Instant::now();
        let outcome = connection.ask(&post(load.target, &load.images[place]));
        let mut is_open = keeps;
        let mut complaint = None;
        match &outcome {
            Outcome::Answered(answer) => {
                is_open &= !answer.head.contains("connection: close");
                if answer.status == 200 && answer.body == load.expected[place] {
                    result.right += 1;
                    result.latencies.push(1e3 * start.elapsed().as_secs_f32());
                } else if answer.status == 503 {
                    result.busy += 1;
                    thread::sleep(Duration::from_millis(20));
                } else {
                    result.wrong += 1;
                    let body = String::from_utf8_lossy(&answer.body);
                    complaint = Some(format!("image {place}: {} {body}", answer.status));
                }
            }
            // A service may close a connection between two requests; the second was not taken.
            Outcome::Dropped if !is_fresh => {
                result.closed += 1;
                is_open = false;
            }
            lost => {
                result.lost += 1;
                is_open = false;
                complaint = Some(format!("image {place}: {lost:?}"));
            }
        }
        result.example = result.example.take().or(complaint);
        kept = is_open.then_some(connection);
    }
    result
}
