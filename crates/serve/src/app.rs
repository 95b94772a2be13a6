//! Paths of the service and what they answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::body::BodyBudget;
use crate::config::ServeConfig;
use crate::image::{Content, answer, prepare};
use crate::metrics::{Gauges, Metrics};
use crate::model::{Found, Prepared, ServedModel};
use crate::multipart::image_of;
use crate::observe::{BatchSize, Observer, observe};
use crate::problem::Problem;
use crate::query::{self, Wish};
use crate::queue::{Queue, Reply};

/// What all requests share.
pub(crate) struct App {
    pub(crate) config: ServeConfig,
    pub(crate) model: OnceLock<Arc<ServedModel>>,
    pub(crate) queue: Queue<Prepared, Found>,
    pub(crate) metrics: Metrics,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) observer: Option<Observer>,
    bodies: BodyBudget,
    decoders: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(config: ServeConfig, observer: Option<Observer>) -> Self {
        Self {
            model: OnceLock::new(),
            queue: Queue::new(config.queue),
            metrics: Metrics::default(),
            is_stopping: AtomicBool::new(false),
            observer,
            bodies: BodyBudget::new(&config),
            decoders: Arc::new(Semaphore::new(config.decoders)),
            config,
        }
    }

    fn is_ready(&self) -> bool {
        self.model.get().is_some() && !self.is_stopping.load(Ordering::Relaxed)
    }

    /// The model.
    fn model(&self) -> Result<Arc<ServedModel>, Problem> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        let loading = || Problem::new(unavailable, "loading", "the model is being loaded");
        self.model.get().cloned().ok_or_else(loading)
    }

    /// Runs work that keeps a core busy, so much at a time as there are decoders.
    async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let internal = |_| failed("panic", "the image could not be processed");
        let Ok(permit) = Arc::clone(&self.decoders).acquire_owned().await else {
            return Err(failed("panic", "the service is ending"));
        };
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(internal)?
    }
}

fn failed(code: &'static str, message: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
}

/// The service, to be put behind connections.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/predict", post(predict))
        .route("/model", get(model))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), observe))
        // Bodies are limited where they are read.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

async fn index() -> Response {
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    (html, include_str!("index.html")).into_response()
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    app.model()?;
    if app.is_ready() {
        return Ok("ready\n");
    }
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    Err(Problem::new(unavailable, "stopping", "the service is stopping"))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let gauges = Gauges { queue: app.queue.len(), is_ready: app.is_ready() };
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.metrics.text(&gauges)).into_response()
}

async fn model(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let mut description = app.model()?.description();
    description["limits"] = json!({
        "max_body": app.config.max_body,
        "max_pixels": app.config.max_pixels,
        "max_network_pixels": app.config.max_network_pixels,
    });
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((kind, format!("{description}\n")).into_response())
}

async fn not_found(uri: Uri) -> Problem {
    let message = format!("there is nothing at {}; see /", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", message).and_close()
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let message = format!("{} does not take {method}; see /", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message).and_close()
}

async fn predict(
    State(app): State<Arc<App>>,
    query: Result<Query<query::Query>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // Nothing of the body is read for a request that is refused by its head.
    let checked = query::parsed(query).and_then(|query| {
        let model = app.model()?;
        let wish = query.wish(&model, app.config.min_score)?;
        Ok((model, wish))
    });
    let (model, wish) = checked.map_err(Problem::and_close)?;
    let body = app.bodies.read(&headers, body, &app.config).await?;
    let image = image_of(&headers, &body.bytes)?;
    match timeout(app.config.timeout, found(&app, model, image, wish)).await {
        Ok(answer) => {
            let ((kind, bytes), batch) = answer?;
            let mut response = ([(CONTENT_TYPE, kind)], bytes).into_response();
            response.extensions_mut().insert(batch);
            Ok(response)
        }
        Err(_) => {
            let message = format!("no answer within {:?}", app.config.timeout);
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
        }
    }
}

/// An image through decoding, queue and model to its answer.
async fn found(
    app: &Arc<App>,
    model: Arc<ServedModel>,
    image: Bytes,
    wish: Wish,
) -> Result<(Content, BatchSize), Problem> {
    let Some(place) = app.queue.place() else {
        let message = "too many images wait for the model; try again";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue_full", message));
    };
    let (bytes, shared, owner) = (image.clone(), Arc::clone(&model), Arc::clone(app));
    let prepared = app.busy(move || prepare(&shared, &bytes, &owner.config)).await?;
    let reply = app.queue.push(place, prepared).await;
    let (found, batch) = match reply {
        Ok(Reply::Done(found, batch)) => (found, batch),
        Ok(Reply::Failed(message)) => return Err(failed("model_failed", &message)),
        Ok(Reply::Panicked) => return Err(failed("panic", "the model failed on this image")),
        Err(_) => return Err(failed("panic", "the model has ended")),
    };
    let content = app.busy(move || answer(&model, found, wish, &image)).await?;
    Ok((content, BatchSize(batch)))
}
