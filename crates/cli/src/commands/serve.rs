//! `longtail serve`.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use longtail::training::{stop_on_interrupt, use_threads};
use longtail_serve::{Observer, RequestRecord, ServeConfig, ServeEvents, ServedModel, serve};

/// Lines of the log that may wait to be written.
const LOG_LINES: usize = 4096;

/// Options of `serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run folder, or one of its checkpoints.
    run: PathBuf,
    /// Device, as in `train`.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Address to listen on; port 0 takes any free one. There is no encryption and no
    /// authentication: leave this machine only behind a proxy.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Threads of the CPU backends. Default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Most images in one pass of the model.
    #[arg(long, default_value_t = ServeConfig::default().max_batch)]
    max_batch: usize,
    /// Milliseconds that the first image of a batch waits for others.
    #[arg(long, default_value_t = 2)]
    max_wait_ms: u64,
    /// Most images that wait for the model; one more is refused with 503.
    #[arg(long, default_value_t = ServeConfig::default().queue)]
    queue: usize,
    /// Most bytes of a request body.
    #[arg(long, default_value_t = ServeConfig::default().max_body)]
    max_body: usize,
    /// Most bytes of all request bodies held at a time.
    #[arg(long, default_value_t = ServeConfig::default().max_bodies)]
    max_bodies: usize,
    /// Most pixels of an image.
    #[arg(long, default_value_t = ServeConfig::default().max_pixels)]
    max_pixels: usize,
    /// Most pixels of an image as the network sees it, padding included.
    #[arg(long, default_value_t = ServeConfig::default().max_network_pixels)]
    max_network_pixels: usize,
    /// Most open connections; more wait to be accepted.
    #[arg(long, default_value_t = ServeConfig::default().max_connections)]
    max_connections: usize,
    /// Images decoded, drawn or written at a time. Default: the cores of the machine.
    #[arg(long)]
    decoders: Option<usize>,
    /// Seconds that a client may pause: within a request, between two, or in taking an answer.
    #[arg(long, default_value_t = 10.0)]
    read_timeout_s: f64,
    /// Seconds that a body may take to arrive, and its answer then.
    #[arg(long, default_value_t = 30.0)]
    timeout_s: f64,
    /// Detectors: leaves out detections with a lower score, unless a request says otherwise.
    #[arg(long, default_value_t = 0.3)]
    min_score: f32,
    /// Writes a line of JSON per request to standard error.
    #[arg(long)]
    log: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = config(&args)?;
    use_threads(args.threads)?;
    let device = longtail::device(&args.device)?;
    let stop = stop_on_interrupt()?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    if !address.ip().is_loopback() {
        eprintln!(
            "warning: {address} can be reached from other machines, without encryption and without \
             authentication; put a proxy in front"
        );
    }
    let (log, writer) = match args.log {
        true => log()?,
        false => (None, None),
    };
    let run = args.run;
    let load = move || ServedModel::load(&run, &device);
    let ready = |model: &ServedModel| {
        println!("ready: {} with {} classes", model.task(), model.classes().len());
    };
    let events = ServeEvents { ready: Some(Box::new(ready)), request: log };
    let summary = serve(listener, &config, load, events, &stop)?;
    // The last observer is gone, so the log ends.
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    println!("stopped: {} requests, {} abandoned", summary.requests, summary.abandoned);
    Ok(ExitCode::SUCCESS)
}

fn config(args: &Args) -> anyhow::Result<ServeConfig> {
    let default = ServeConfig::default();
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .filter(|time| *time <= Duration::from_secs(86_400))
            .with_context(|| format!("{name} must be from 0 to 86400, not {value}"))
    };
    let config = ServeConfig {
        max_batch: args.max_batch,
        max_wait: Duration::from_millis(args.max_wait_ms),
        queue: args.queue,
        max_body: args.max_body,
        max_bodies: args.max_bodies,
        max_pixels: args.max_pixels,
        max_network_pixels: args.max_network_pixels,
        max_connections: args.max_connections,
        decoders: args.decoders.unwrap_or(default.decoders),
        read_timeout: seconds("--read-timeout-s", args.read_timeout_s)?,
        timeout: seconds("--timeout-s", args.timeout_s)?,
        min_score: args.min_score,
    };
    config.validate()?;
    Ok(config)
}

/// A thread that writes the log, so that a slow reader of it does not hold requests up.
fn log() -> anyhow::Result<(Option<Observer>, Option<thread::JoinHandle<()>>)> {
    let (sender, receiver) = sync_channel(LOG_LINES);
    let writer = thread::Builder::new().name("log".into()).spawn(move || write(&receiver))?;
    let observer: Observer = Box::new(move |record| match sender.try_send(record) {
        // A line is lost before a request is.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
    });
    Ok((Some(observer), Some(writer)))
}

fn write(records: &Receiver<RequestRecord>) {
    for record in records {
        if let Ok(line) = serde_json::to_string(&record) {
            eprintln!("{line}");
        }
    }
}
