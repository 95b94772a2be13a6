//! `cargo xtask fuzz`: every parser under libFuzzer, one after the other.

mod report;
mod wrapper;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::process;
use report::Report;
pub(crate) use wrapper::instrument;

/// Memory of a whole run in MiB; a parser that wants more is a finding.
const MEMORY: usize = 2048;
/// Address space in MiB, in which an allocation counts before it is touched: the memory, threads
/// and libraries.
const ADDRESSES: usize = 3072;
/// Seconds after which one input is a hang.
const TIMEOUT: usize = 60;
/// Longest input in bytes.
const MAX_LEN: usize = 32 * 1024;

struct Options {
    seconds: u64,
    targets: Vec<String>,
    minimize: bool,
    jobs: usize,
}

/// Builds the fuzzer and runs the named targets, or all.
///
/// # Errors
/// If it cannot be built, or a target has a finding.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = options(args)?;
    if !has_cpp_compiler() {
        println!("fuzz: SKIPPED, there is no C++ compiler for libFuzzer");
        return Ok(());
    }
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("no target `{unknown}`; targets: {}", known.join(", "));
    }
    let fuzzer = build()?;
    let is_chosen = |name: &String| options.targets.is_empty() || options.targets.contains(name);
    let names: Vec<String> = known.into_iter().filter(is_chosen).collect();
    let reports = fuzz_all(&fuzzer, &names, &options)?;
    println!("\n{}", Report::table(&reports));
    let found: Vec<&str> =
        reports.iter().filter(|report| report.has_finding).map(|r| r.name.as_str()).collect();
    if !found.is_empty() {
        bail!("findings in {}; the inputs are in target/fuzz-findings", found.join(", "));
    }
    Ok(())
}

/// Runs `jobs` targets at a time.
fn fuzz_all(fuzzer: &Path, names: &[String], options: &Options) -> Result<Vec<Report>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(fuzz(fuzzer, name, options)?);
        }
        Ok(done)
    };
    let results: Vec<Result<Vec<Report>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(worker)).collect();
        let gone = || Err(anyhow!("a thread has panicked"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| gone())).collect()
    });
    let mut reports = Vec::new();
    for result in results {
        reports.extend(result?);
    }
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(reports)
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options { seconds: 30, targets: Vec::new(), minimize: false, jobs: 1 };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--seconds" => {
                let text = value()?;
                options.seconds =
                    text.parse().with_context(|| format!("`{text}` are no seconds"))?;
            }
            "--jobs" => {
                let text = value()?;
                let jobs = text.parse().ok().filter(|&jobs| jobs > 0);
                options.jobs = jobs.with_context(|| format!("`{text}` is no number of jobs"))?;
            }
            "--target" => options.targets.push(value()?.clone()),
            "--minimize" => options.minimize = true,
            other => {
                bail!("unknown option `{other}`: --seconds N, --target NAME, --jobs N, --minimize")
            }
        }
    }
    Ok(options)
}

fn has_cpp_compiler() -> bool {
    let given = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    process::succeeds(Command::new(given).arg("--version"))
}

/// The targets are the folders of the corpus.
fn targets() -> Result<Vec<String>> {
    let folder = process::workspace_root().join("fuzz/corpus");
    let failed = || format!("cannot read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(failed)? {
        names.push(entry.with_context(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds the fuzzer beside the ordinary build, whose dependencies it shares.
fn build() -> Result<PathBuf> {
    let root = process::workspace_root();
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    println!("fuzz: building");
    let start = Instant::now();
    process::run(
        process::cargo(&["build", "--release", "--quiet"])
            .current_dir(root.join("fuzz/libfuzzer"))
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTC_WRAPPER", std::env::current_exe()?),
    )?;
    println!("fuzz: built in {:.0} s", start.elapsed().as_secs_f64());
    Ok(target.join("release/longtail-fuzz"))
}

fn fuzz(fuzzer: &Path, name: &str, options: &Options) -> Result<Report> {
    let root = process::workspace_root();
    let findings = root.join("target/fuzz-findings").join(name);
    let grown = root.join("target/fuzz-corpus").join(name);
    let kept = root.join("fuzz/corpus").join(name);
    let regressions = root.join("fuzz/regressions").join(name);
    let _ = fs::remove_dir_all(&findings);
    for folder in [&findings, &grown, &regressions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let scratch = scratch_folder(name)?;
    let start = Instant::now();
    let mut command = limited(fuzzer, name, &scratch);
    command.args([
        format!("-max_total_time={}", options.seconds),
        format!("-max_len={MAX_LEN}"),
        format!("-rss_limit_mb={MEMORY}"),
        format!("-timeout={TIMEOUT}"),
        // A slower one is no finding: on a busy machine any may be.
        format!("-report_slow_units={TIMEOUT}"),
        "-print_final_stats=1".into(),
        format!("-artifact_prefix={}/", findings.display()),
    ]);
    let dictionary = root.join("fuzz/dictionaries").join(name);
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.args([&grown, &kept, &regressions]);
    let output = command.output().with_context(|| format!("cannot start {}", fuzzer.display()))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let is_found = fs::read_dir(&findings).is_ok_and(|mut entries| entries.next().is_some());
    let has_finding = is_found || !output.status.success();
    let report = Report::of(name, &log, start.elapsed(), has_finding);
    println!("{report}");
    if has_finding {
        let lines: Vec<&str> = log.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    } else if options.minimize {
        minimize(fuzzer, name, &scratch, [&kept, &grown])?;
    }
    let _ = fs::remove_dir_all(&scratch);
    Ok(report)
}

/// The fuzzer within its limits of memory: a shell sets that of the address space, where there is
/// one that can.
fn limited(fuzzer: &Path, name: &str, scratch: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -v {} 2>/dev/null; exec \"$0\" \"$@\"", ADDRESSES * 1024));
    command.arg(fuzzer).env("FUZZ_TARGET", name).env("FUZZ_SCRATCH", scratch);
    // A pool of threads takes addresses, and makes runs differ.
    command.env("RAYON_NUM_THREADS", "1").current_dir(process::workspace_root());
    command
}

/// Makes the kept corpus the smallest set of inputs that reaches what the grown one does.
fn minimize(fuzzer: &Path, name: &str, scratch: &Path, [kept, grown]: [&Path; 2]) -> Result<()> {
    let small = grown.with_extension("small");
    let _ = fs::remove_dir_all(&small);
    fs::create_dir_all(&small)?;
    let mut command = limited(fuzzer, name, scratch);
    command.args(["-merge=1", "-max_len=4096"]).args([&small, kept, grown]);
    if !process::succeeds(&mut command) {
        bail!("{name}: the corpus cannot be merged");
    }
    fs::remove_dir_all(kept)?;
    fs::create_dir_all(kept)?;
    for entry in fs::read_dir(&small)? {
        let path = entry?.path();
        fs::copy(&path, kept.join(path.file_name().unwrap_or_default()))?;
    }
    fs::remove_dir_all(&small)?;
    Ok(())
}

/// A folder in memory where there is one.
fn scratch_folder(name: &str) -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = base.join(format!("longtail-fuzz-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options> {
        options(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parsed(&["--seconds", "600", "--target", "coco", "--target", "voc"]).unwrap();
        assert_eq!((options.seconds, options.minimize), (600, false));
        assert_eq!(options.targets, ["coco", "voc"]);
        let error = |args: &[&str]| parsed(args).err().unwrap().to_string();
        assert_eq!(error(&["--seconds"]), "`--seconds` needs a value");
        assert_eq!(error(&["--seconds", "ten"]), "`ten` are no seconds");
        assert!(error(&["coco"]).starts_with("unknown option `coco`"));
    }

    #[test]
    fn every_target_has_a_corpus() {
        let names = targets().unwrap();
        assert!(names.len() >= 15 && names.contains(&"recipe".to_owned()), "{names:?}");
        let list = include_str!("../../fuzz/targets/src/lib.rs");
        assert!(names.iter().all(|name| list.contains(&format!("target(\"{name}\""))), "{names:?}");
    }
}
