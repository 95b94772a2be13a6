//! `cargo xtask web`: the page with the demo's detector, and its test in a browser.

mod browser;
mod build;
mod compare;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

/// How the page may end up: built, or not for a reason that is no fault.
enum Built {
    Page(Programs),
    Skipped(String),
}

/// The native programs the page is compared with.
struct Programs {
    /// `longtail`
    longtail: PathBuf,
    /// The run folder.
    run: PathBuf,
}

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    run: Option<PathBuf>,
    test: bool,
    serve: bool,
    webgpu: bool,
}

/// Where the page is looked at.
const ADDRESS: &str = "127.0.0.1:8000";
/// Longest time for the test page on one device.
const PATIENCE: Duration = Duration::from_secs(420);

/// Builds the page; `--test` tries it in headless Chromium, `--serve` shows it on loopback.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = options(args)?;
    let programs = match page(&options)? {
        Built::Page(programs) => programs,
        Built::Skipped(reason) => {
            println!("web: SKIPPED, {reason}");
            return Ok(());
        }
    };
    if options.test {
        test(&programs, options.webgpu)?;
    }
    if options.serve {
        let server = server::Server::start(ADDRESS, vec![(String::new(), page_folder())])?;
        println!("\nthe page: {}  (Ctrl-C ends)", server.url());
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--test" => options.test = true,
            "--serve" => options.serve = true,
            "--webgpu" => options.webgpu = true,
            "--run" => {
                let run = args.next().context("`--run` wants a run folder")?;
                options.run = Some(PathBuf::from(run));
            }
            other => {
                bail!("unknown option `{other}`; options: --run FOLDER, --webgpu, --test, --serve")
            }
        }
    }
    Ok(options)
}

/// `target/web`, the finished page.
fn page_folder() -> PathBuf {
    process::workspace_root().join("target/web")
}

/// WebAssembly, weights, card, examples and the page itself, in `target/web`.
fn page(options: &Options) -> Result<Built> {
    let folder = page_folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if let Some(reason) = build::missing()? {
        return Ok(Built::Skipped(reason));
    }
    let start = Instant::now();
    build::wasm(&folder, options.webgpu)?;
    println!("WebAssembly: built in {:.0} s", start.elapsed().as_secs_f64());
    let [longtail, bundle] = build::native()?;
    let run = match &options.run {
        Some(run) => run.clone(),
        None => trained(&longtail)?,
    };
    let arguments = [Path::new("--run"), &run, Path::new("--out"), &folder];
    process::run(process::command(&bundle).args(arguments))?;
    copy_files(&process::workspace_root().join("examples/browser/web"), &folder)?;
    println!("\nthe page is {}:", folder.display());
    for name in ["browser_bg.wasm", "browser.js", "model.safetensors", "model.json"] {
        let path = folder.join(name);
        let bytes = fs::metadata(&path).with_context(|| format!("no {}", path.display()))?.len();
        println!("  {name:<18} {:>7.1} kB, {:>7.1} kB by gzip", kb(bytes), kb(zipped(&path)));
    }
    Ok(Built::Page(Programs { longtail, run }))
}

fn kb(bytes: u64) -> f64 {
    bytes as f64 / 1e3
}

/// The size that a server sends; 0 without `gzip`.
fn zipped(path: &Path) -> u64 {
    let output = process::command("gzip").args(["-9", "-c"]).arg(path).output();
    output.map_or(0, |output| output.stdout.len() as u64)
}

/// The run of the demo's detector with Balanced Sigmoid, trained unless it is there: about a minute.
fn trained(longtail: &Path) -> Result<PathBuf> {
    let run = process::workspace_root().join("target/web-run");
    if run.join("report.json").exists() {
        println!("{}: trained already", run.display());
        return Ok(run);
    }
    let start = Instant::now();
    let settings = ["--set", "loss={ method = \"balanced-sigmoid\" }", "--set"];
    process::run(
        process::command(longtail)
            .args(["train", "crates/cli/src/demo_detect.toml", "--quiet", "--out"])
            .arg(&run)
            .args(settings)
            .arg("name=Faster R-CNN, Balanced Sigmoid"),
    )?;
    println!("trained in {:.0} s", start.elapsed().as_secs_f64());
    Ok(run)
}

/// The files of a folder, without its folders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name)).with_context(failed)?;
        }
    }
    Ok(())
}

/// Gives the page images as a visitor would, and compares what it shows with `longtail predict`.
fn test(programs: &Programs, webgpu: bool) -> Result<()> {
    let Some(chromium) = browser::find() else {
        println!("web: test SKIPPED, no Chromium (scripts/chromium.sh installs it where it can)");
        return Ok(());
    };
    let (page, test) = (page_folder(), process::workspace_root().join("target/web-test"));
    copy_files(&process::workspace_root().join("examples/browser/web/test"), &test)?;
    copy_files(&page.join("examples"), &test)?;
    let card: Value = serde_json::from_str(&fs::read_to_string(page.join("model.json"))?)?;
    let examples = card["examples"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<&str> = examples.filter_map(|path| path.rsplit('/').next()).collect();
    fs::write(test.join("images.json"), serde_json::to_string(&names)?)?;
    let native = compare::native(&programs.longtail, &programs.run, &test, &names)?;

    let roots = vec![("test/".to_owned(), test.clone()), (String::new(), page)];
    let server = server::Server::start("127.0.0.1:0", roots)?;
    let mut failures = Vec::new();
    let devices = [browser::Device::Cpu, browser::Device::WebGpu];
    for device in devices.into_iter().take(if webgpu { 2 } else { 1 }) {
        println!("\n== {}", device.title());
        let url = format!("{}test/?device={}", server.url(), device.name());
        let mut running = chromium.open(&url, device)?;
        let report = server.report(PATIENCE);
        running.end();
        let report = report.with_context(|| format!("{} gave no report", device.title()))?;
        fs::write(test.join(format!("{}.json", device.name())), report.to_string())?;
        match compare::check(&report, &native, device) {
            Ok(lines) => println!("{lines}"),
            Err(error) => {
                println!("FAILED: {error:#}");
                failures.push(device.title());
            }
        }
    }
    let picture = test.join("page.png");
    chromium.screenshot(&format!("{}test/picture.html", server.url()), &picture)?;
    println!("\nthe page as it looks: {}", picture.display());
    if !failures.is_empty() {
        bail!("the page is wrong on: {}", failures.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let read =
            |args: &[&str]| options(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>());
        let expected = Options { run: Some("runs/a".into()), test: true, ..Default::default() };
        assert_eq!(read(&["--test", "--run", "runs/a"]).unwrap(), expected);
        assert_eq!(read(&["--run"]).unwrap_err().to_string(), "`--run` wants a run folder");
        let message = read(&["--fast"]).unwrap_err().to_string();
        assert!(message.starts_with("unknown option `--fast`; options: --run"), "{message}");
    }
}
