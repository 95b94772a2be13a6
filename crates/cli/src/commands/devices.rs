//! `longtail devices`.

use std::io::{IsTerminal as _, Write as _};
use std::panic;
use std::process::ExitCode;

use longtail::BackendInfo;
use longtail_conformance::{DeviceUnderTest, Report, run as check};
use serde_json::json;

/// What the others are compared with, where the build has it.
const REFERENCE: &str = "flex";

/// Options of `devices`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compute the same small cases on every usable device and compare: layers, losses, RoIAlign,
    /// detections, training steps. Fails if a device is off by more than the tolerance.
    #[arg(long)]
    check: bool,
    /// Check these devices only, separated by commas, beside `flex`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "check")]
    device: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let backends = longtail::backends();
    if args.check {
        let names = names(&backends, &args.device);
        anyhow::ensure!(!names.is_empty(), "this build has no usable device");
        return conformance(&names, args.json);
    }
    if args.json {
        let row = |b: &BackendInfo| {
            json!({
                "name": b.name,
                "description": b.description,
                "needs": b.needs,
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

/// The devices to check, the reference first; without a wish, all that are usable.
fn names(backends: &[BackendInfo], wanted: &[String]) -> Vec<String> {
    let usable = backends.iter().flat_map(|backend| match backend.num_devices {
        1 => vec![backend.name.to_owned()],
        count => (0..count).map(|index| format!("{}:{index}", backend.name)).collect(),
    });
    let wanted: Vec<String> = if wanted.is_empty() { usable.collect() } else { wanted.to_vec() };
    let has_reference = backends.iter().any(|b| b.name == REFERENCE && b.num_devices > 0);
    let mut names: Vec<String> = has_reference.then(|| REFERENCE.to_owned()).into_iter().collect();
    for name in wanted {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn conformance(names: &[String], is_json: bool) -> anyhow::Result<ExitCode> {
    let open = |name: &String| {
        let device = longtail::device(name)?;
        anyhow::Ok(DeviceUnderTest { name: name.clone(), device })
    };
    let devices: Vec<DeviceUnderTest> = names.iter().map(open).collect::<Result<_, _>>()?;

    // A backend that panics is a line of the report, not a trace on the screen.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let report = check(&devices, &mut show);
    panic::set_hook(hook);
    show("");

    print(&report, is_json)?;
    Ok(if report.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line that moves on, for people only.
fn show(case: &str) {
    let mut screen = std::io::stderr();
    if screen.is_terminal() {
        // Nobody misses progress that cannot be shown.
        let _ = write!(screen, "\r\x1b[K{case}");
        let _ = screen.flush();
    }
}

fn print(report: &Report, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!("{report}");
    if report.is_passed() {
        println!("all devices agree");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_comes_first_and_once() {
        let backend = |name: &'static str, num_devices: usize| BackendInfo {
            name,
            description: "",
            needs: "",
            is_compiled: true,
            num_devices,
        };
        let backends =
            [backend("wgpu", 1), backend("flex", 1), backend("cuda", 2), backend("rocm", 0)];
        assert_eq!(names(&backends, &[]), ["flex", "wgpu", "cuda:0", "cuda:1"]);
        assert_eq!(names(&backends, &["cuda:1".into(), "flex".into()]), ["flex", "cuda:1"]);
        assert_eq!(names(&backends[2..], &[]), ["cuda:0", "cuda:1"]);
    }
}
