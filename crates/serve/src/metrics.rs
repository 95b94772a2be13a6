//! Numbers of a running service in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper borders of the buckets of times, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The same of images per batch.
const IMAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Counters since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Answers by path and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Refusals by reason.
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    begun: AtomicU64,
    /// Requests whose clients left before the answer.
    abandoned: AtomicU64,
    in_flight: AtomicU64,
    connections: AtomicU64,
    panics: AtomicU64,
    seconds: Histogram<12>,
    batch_seconds: Histogram<12>,
    batch_images: Histogram<7>,
}

/// What is asked of others at the moment of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) queue: usize,
    pub(crate) is_ready: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Mutex::default(),
            refusals: Mutex::default(),
            begun: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            connections: AtomicU64::default(),
            panics: AtomicU64::default(),
            seconds: Histogram::new(SECONDS),
            batch_seconds: Histogram::new(SECONDS),
            batch_images: Histogram::new(IMAGES),
        }
    }
}

impl Metrics {
    /// A request begins; [`Metrics::answered`] or [`Metrics::abandoned`] must follow.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, path: &'static str, status: u16, time: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((path, status)).or_default() += 1;
        drop(requests);
        if path == "/predict" {
            self.seconds.add(time.as_secs_f64());
        }
    }

    pub(crate) fn abandoned(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(reason).or_default() += 1;
    }

    pub(crate) fn batch(&self, images: usize, time: Duration) {
        self.batch_images.add(images as f64);
        self.batch_seconds.add(time.as_secs_f64());
    }

    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests whose head was read, and those whose clients left before the answer.
    pub(crate) fn totals(&self) -> [u64; 2] {
        [&self.begun, &self.abandoned].map(|count| count.load(Ordering::Relaxed))
    }

    /// The page of `/metrics`.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut page = Page::default();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page.head("longtail_requests_total", "counter", "Answers by path and status.");
        for ((path, status), count) in requests {
            page.line(&format!("{{path=\"{path}\",status=\"{status}\"}}"), count as f64);
        }
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page.head("longtail_rejected_total", "counter", "Refused requests by reason.");
        for (reason, count) in refusals {
            page.line(&format!("{{reason=\"{reason}\"}}"), count as f64);
        }
        let counts = [
            (
                "longtail_abandoned_total",
                "counter",
                "Requests whose clients left.",
                &self.abandoned,
            ),
            (
                "longtail_model_panics_total",
                "counter",
                "Images the model panicked on.",
                &self.panics,
            ),
            ("longtail_in_flight", "gauge", "Requests without an answer yet.", &self.in_flight),
            ("longtail_connections", "gauge", "Open connections.", &self.connections),
        ];
        for (name, kind, help, count) in counts {
            page.head(name, kind, help);
            page.line("", count.load(Ordering::Relaxed) as f64);
        }
        page.head("longtail_queue_length", "gauge", "Images that wait for the model.");
        page.line("", gauges.queue as f64);
        page.head(
            "longtail_ready",
            "gauge",
            "1 if the model is loaded and the service not stopping.",
        );
        page.line("", f64::from(u8::from(gauges.is_ready)));
        page.head("longtail_predict_seconds", "histogram", "Time from head to answer.");
        self.seconds.write(&mut page);
        page.head("longtail_batch_seconds", "histogram", "Time of a pass of the model.");
        self.batch_seconds.write(&mut page);
        page.head("longtail_batch_images", "histogram", "Images per pass of the model.");
        self.batch_images.write(&mut page);
        page.text
    }
}

#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, suffix: &str, value: f64) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{}{suffix} {value}", self.name);
    }
}

/// Counts of values up to each border, their number and their sum.
#[derive(Debug)]
struct Histogram<const N: usize> {
    borders: [f64; N],
    counts: [AtomicU64; N],
    number: AtomicU64,
    /// In millionths.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(borders: [f64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::default());
        Self { borders, counts, number: AtomicU64::default(), sum: AtomicU64::default() }
    }

    fn add(&self, value: f64) {
        let buckets = self.borders.iter().zip(&self.counts);
        for (_, count) in buckets.filter(|(border, _)| value <= **border) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.number.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6).round() as u64, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Page) {
        for (border, count) in self.borders.iter().zip(&self.counts) {
            page.line(&format!("_bucket{{le=\"{border}\"}}"), count.load(Ordering::Relaxed) as f64);
        }
        let number = self.number.load(Ordering::Relaxed) as f64;
        page.line("_bucket{le=\"+Inf\"}", number);
        page.line("_sum", self.sum.load(Ordering::Relaxed) as f64 / 1e6);
        page.line("_count", number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts() {
        let metrics = Metrics::default();
        (0..4).for_each(|_| metrics.begin());
        metrics.answered("/predict", 200, Duration::from_millis(30));
        metrics.answered("/predict", 503, Duration::from_millis(1));
        metrics.refused("queue_full");
        metrics.abandoned();
        metrics.batch(3, Duration::from_millis(20));
        let page = metrics.text(&Gauges { queue: 5, is_ready: true });
        for line in [
            "longtail_requests_total{path=\"/predict\",status=\"200\"} 1",
            "longtail_requests_total{path=\"/predict\",status=\"503\"} 1",
            "longtail_rejected_total{reason=\"queue_full\"} 1",
            "longtail_abandoned_total 1",
            "longtail_in_flight 1",
            "longtail_queue_length 5",
            "longtail_ready 1",
            "longtail_predict_seconds_bucket{le=\"0.025\"} 1",
            "longtail_predict_seconds_bucket{le=\"0.05\"} 2",
            "longtail_predict_seconds_bucket{le=\"+Inf\"} 2",
            "longtail_predict_seconds_sum 0.031",
            "longtail_predict_seconds_count 2",
            "longtail_batch_images_bucket{le=\"2\"} 0",
            "longtail_batch_images_bucket{le=\"4\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
        }
        assert_eq!(metrics.totals(), [4, 1]);
        // Every name is declared before its first line, once.
        let declared = page.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(declared, page.lines().filter(|line| line.starts_with("# HELP")).count());
        assert_eq!(declared, 11);
    }
}
