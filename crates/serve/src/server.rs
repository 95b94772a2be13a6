//! Connections, from the first to the last.

use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::app::{App, router};
use crate::config::ServeConfig;
use crate::error::ServeError;
use crate::model::ServedModel;
use crate::observe::ServeEvents;
use crate::stream::PatientStream;
use crate::worker::{panic_message, work};

/// How often the flag to stop is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long connections without a request are kept after the flag, for requests on their way.
const GRACE: Duration = Duration::from_millis(500);
/// Largest head of a request, in bytes and in lines.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// Threads of the network; the work is done elsewhere.
const NETWORK_THREADS: usize = 2;

/// A service that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeSummary {
    /// Requests whose head was read.
    pub requests: u64,
    /// Those among them whose clients left before the answer, or that were given up at the end.
    pub abandoned: u64,
}

/// Answers HTTP requests on `listener` until `stop` is set; then no connection is accepted any more,
/// and every request that has begun is answered before this returns.
///
/// `load` gives the model. It runs on the thread that runs the model later, while `/healthz` answers
/// already and `/readyz` does not.
///
/// There is no encryption and no authentication: listen on the loopback interface, or put a proxy in
/// front.
/// # Errors
/// If a limit is outside its range, the listener or a thread fails, or `load` does.
pub fn serve(
    listener: TcpListener,
    config: &ServeConfig,
    load: impl FnOnce() -> Result<ServedModel, ServeError> + Send + 'static,
    events: ServeEvents,
    stop: &Arc<AtomicBool>,
) -> Result<ServeSummary, ServeError> {
    config.validate()?;
    listener.set_nonblocking(true).map_err(ServeError::io("use the listener"))?;
    let app = Arc::new(App::new(config.clone(), events.request));
    let runtime = runtime(config).map_err(ServeError::io("start the threads of the network"))?;
    let (owner, flag) = (Arc::clone(&app), Arc::clone(stop));
    let worker = thread::Builder::new().name("model".into()).spawn(move || {
        // A model that is not there ends the service, whatever the reason.
        let end = StopOnDrop(flag);
        let model = Arc::new(load()?);
        let run = |images: &[&_]| model.run(images).map_err(|error| error.to_string());
        // Set once, here.
        let _ = owner.model.set(Arc::clone(&model));
        if let Some(ready) = events.ready {
            ready(&model);
        }
        let limits = (owner.config.max_batch, owner.config.max_wait);
        work(&owner.queue, limits, &owner.metrics, run);
        drop(end);
        Ok(())
    });
    let worker = worker.map_err(ServeError::io("start the thread of the model"))?;
    let served = runtime.block_on(connections(listener, &app, stop));
    app.queue.close();
    let worked: Result<(), ServeError> = worker
        .join()
        .unwrap_or_else(|panic| Err(ServeError::Worker { message: panic_message(&*panic) }));
    runtime.shutdown_background();
    worked?;
    served.map_err(ServeError::io("accept connections"))?;
    let [requests, abandoned] = app.metrics.totals();
    Ok(ServeSummary { requests, abandoned })
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn runtime(config: &ServeConfig) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(config.decoders)
        .thread_name("network")
        .enable_all()
        .build()
}

/// A connection is alive while it holds one of these.
type Alive = mpsc::Sender<()>;

/// Accepts connections until the flag, and waits for them to end.
async fn connections(listener: TcpListener, app: &Arc<App>, stop: &AtomicBool) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(app.config.max_connections));
    let (alive, mut ended) = mpsc::channel(1);
    let (close, closing) = watch::channel(false);
    let service = router(Arc::clone(app));
    let start = |stream: TcpStream, place: Option<OwnedSemaphorePermit>| {
        let parts = (service.clone(), Arc::clone(app), closing.clone(), alive.clone());
        tokio::spawn(async move {
            connection(stream, parts).await;
            drop(place);
        });
    };
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.ok(),
            () = flag(stop) => break,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream, place),
                // The client has left, or the process has no file handles: others will end.
                Err(_) => sleep(POLL).await,
            },
            () = flag(stop) => break,
        }
    }
    app.is_stopping.store(true, Ordering::SeqCst);
    // Whoever has connected already is served. The runtime may not know of them yet: ask the system.
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    start(stream, None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
    drop(listener);
    drop(alive);
    // Answers close their connections from now on; those without a request are closed after a while.
    let _ = timeout(GRACE, ended.recv()).await;
    close.send_replace(true);
    let longest = 2 * app.config.timeout + 2 * app.config.read_timeout;
    let _ = timeout(longest, ended.recv()).await;
    Ok(())
}

async fn flag(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(POLL).await;
    }
}

async fn connection(
    stream: TcpStream,
    (service, app, mut closing, alive): (Router, Arc<App>, watch::Receiver<bool>, Alive),
) {
    app.metrics.connected();
    // Answers are small; without it the last part of one may wait for a confirmation.
    let _ = stream.set_nodelay(true);
    let limit = app.config.read_timeout;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(PatientStream::new(stream, limit)),
            TowerToHyperService::new(service),
        );
    let mut served = pin!(served);
    let mut is_closing = false;
    // Errors are those of the client: it left, was too slow, or sent no HTTP.
    loop {
        tokio::select! {
            _ = served.as_mut() => break,
            _ = closing.wait_for(|close| *close), if !is_closing => {
                is_closing = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
    app.metrics.disconnected();
    drop(alive);
}
