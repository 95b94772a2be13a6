//! Counts and records of every request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;

use crate::app::App;
use crate::metrics::Metrics;
use crate::model::ServedModel;
use crate::problem::Refusal;

/// One answered request, for a log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestRecord {
    /// `GET`, `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
    /// Milliseconds from the head of the request to its answer.
    pub ms: f64,
    /// Images in the pass of the model that the image was in; `None` if it was in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Why the request was refused, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}

/// Takes the record of every request. It is called on a thread of the network: it should not wait.
pub type Observer = Box<dyn Fn(RequestRecord) + Send + Sync>;

/// Takes the model when it is loaded.
pub type OnReady = Box<dyn FnOnce(&ServedModel) + Send>;

/// What is told while a service runs.
#[derive(Default)]
pub struct ServeEvents {
    /// The model is loaded; requests are answered from now on. Called once, on the model's thread.
    pub ready: Option<OnReady>,
    /// Every request with an answer.
    pub request: Option<Observer>,
}

/// Size of the batch of an answer.
#[derive(Clone, Copy)]
pub(crate) struct BatchSize(pub(crate) usize);

/// Counts a request that is never answered, too.
struct Begun<'a>(Option<&'a Metrics>);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.abandoned();
        }
    }
}

/// Around every request: counts, the record, and the end of the connection when the service stops.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    app.metrics.begin();
    let mut begun = Begun(Some(&app.metrics));
    let mut response = next.run(request).await;
    begun.0 = None;
    let (status, time) = (response.status().as_u16(), start.elapsed());
    app.metrics.answered(known(&path), status, time);
    let refusal = response.extensions().get::<Refusal>().map(|refusal| refusal.0);
    if let Some(reason) = refusal {
        app.metrics.refused(reason);
    }
    if app.is_stopping.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(observer) = &app.observer {
        let batch = response.extensions().get::<BatchSize>().map(|batch| batch.0);
        let ms = (time.as_secs_f64() * 1e6).round() / 1e3;
        observer(RequestRecord { method, path, status, ms, batch, error: refusal });
    }
    response
}

/// The path as a label: only what exists, or anybody could fill the memory with labels.
fn known(path: &str) -> &'static str {
    let paths = ["/", "/predict", "/model", "/healthz", "/readyz", "/metrics"];
    paths.into_iter().find(|known| *known == path).unwrap_or("other")
}
