//! `cargo xtask soak`: two small runs of 10,000 steps, and the memory they hold on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

const RECIPES: [&str; 2] = ["classifier", "detector"];
/// Points of the printed table.
const POINTS: u64 = 10;
/// Growth from the second tenth of a run to its end that is refused, in MiB: more than an
/// allocator gains by chance.
const MAX_GROWTH: u64 = 64;

/// Trains both, one after the other; `--steps N` instead of 10,000.
///
/// # Errors
/// If a run fails, or its memory grows.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let steps = match args {
        [] => 10_000,
        [flag, steps] if flag == "--steps" => steps.parse().context("--steps takes a number")?,
        _ => bail!("expected `--steps N` or nothing, got `{}`", args.join(" ")),
    };
    process::run(&mut process::cargo(&["build", "--release", "--package", "longtail-cli"]))?;
    let root = process::workspace_root();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    for name in RECIPES {
        soak(&target.join("release/longtail"), &root, name, steps)?;
    }
    Ok(())
}

fn soak(program: &Path, root: &Path, name: &str, steps: u64) -> Result<()> {
    let out = root.join("target/soak").join(name);
    let _ = fs::remove_dir_all(&out);
    let start = Instant::now();
    let mut child = process::command(program)
        .arg("train")
        .arg(root.join("xtask/src/soak").join(format!("{name}.toml")))
        .arg("--quiet")
        .arg("--out")
        .arg(&out)
        .arg("--set")
        .arg(format!("iterations={steps}"))
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    println!("{name}: {steps} steps\n{:>8} {:>8} {:>8}", "step", "MiB", "seconds");
    let points = watch(&mut child, &out.join("metrics.jsonl"), steps, start)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} ended with {status}");
    }
    println!("{steps:>8} {:>8} {:>8.0}  finished", "", start.elapsed().as_secs_f64());
    check(name, &points)
}

/// Resident memory in MiB at each tenth, while the run lasts.
fn watch(child: &mut Child, metrics: &Path, steps: u64, start: Instant) -> Result<Vec<u64>> {
    let mut points: Vec<u64> = Vec::new();
    while child.try_wait()?.is_none() {
        sleep(Duration::from_millis(100));
        let step = fs::read_to_string(metrics).ok().and_then(|text| last_step(&text));
        let due = (points.len() as u64 + 1) * steps / POINTS;
        if let Some(step) = step.filter(|&step| step >= due)
            && let Some(memory) = resident(child.id())
        {
            println!("{step:>8} {memory:>8} {:>8.0}", start.elapsed().as_secs_f64());
            points.push(memory);
        }
    }
    Ok(points)
}

fn check(name: &str, points: &[u64]) -> Result<()> {
    let (Some(&early), Some(&late)) = (points.get(1), points.last()) else {
        println!("{name}: memory is not told here");
        return Ok(());
    };
    if late > early + MAX_GROWTH {
        bail!("{name}: memory grew from {early} to {late} MiB");
    }
    Ok(())
}

/// The step of the last whole line of a metrics file.
fn last_step(text: &str) -> Option<u64> {
    let whole = &text[..text.rfind('\n')?];
    let line: serde_json::Value = serde_json::from_str(whole.lines().next_back()?).ok()?;
    line.get("step")?.as_u64()
}

/// Resident memory of a process in MiB, where the system tells it.
fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_counts() {
        let text = "{\"step\":50,\"loss\":1}\n{\"step\":100,\"eval\":{}}\n{\"step\":1";
        assert_eq!(last_step(text), Some(100));
        assert_eq!(last_step("{\"step\":1"), None);
    }

    #[test]
    fn growth_is_refused() {
        assert!(check("x", &[100, 200, 210]).is_ok() && check("x", &[]).is_ok());
        let message = check("x", &[100, 200, 265]).unwrap_err().to_string();
        assert_eq!(message, "x: memory grew from 200 to 265 MiB");
    }
}
