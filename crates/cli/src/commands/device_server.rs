//! `longtail device-server`.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;

/// Options of `device-server`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Devices to serve, all of one backend, for example `cuda:0,cuda:1`.
    #[arg(long, default_value = "flex", value_delimiter = ',')]
    device: Vec<String>,
    /// Address to listen on. Nothing is encrypted: leave this machine only by a tunnel, or within a
    /// network you trust. Port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    bind: SocketAddr,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let devices = args.device.iter().map(|name| longtail::device(name.trim()));
    let devices = devices.collect::<Result<Vec<_>, _>>()?;
    let listener =
        TcpListener::bind(args.bind).with_context(|| format!("cannot listen on {}", args.bind))?;
    println!("serving {} on remote:ws://{}", args.device.join(","), listener.local_addr()?);
    longtail::serve(devices, listener)?;
    Ok(ExitCode::SUCCESS)
}
