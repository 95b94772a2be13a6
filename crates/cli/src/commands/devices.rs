//! `longtail devices`.

use std::process::ExitCode;

use longtail::BackendInfo;
use serde_json::json;

/// Options of `devices`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let backends = longtail::backends();
    if args.json {
        let row = |b: &BackendInfo| {
            json!({
                "name": b.name,
                "description": b.description,
                "is_compiled": b.is_compiled,
                "num_devices": b.num_devices,
            })
        };
        let rows: Vec<_> = backends.iter().map(row).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        backends.iter().for_each(|backend| println!("{backend}"));
    }
    Ok(ExitCode::SUCCESS)
}
