//! Headless Chromium.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::process;

/// Names under which it is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// No window, no GPU process of the machine's own, nothing asked of the network.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--mute-audio",
];
/// WebGPU by the software driver that comes with it.
const SOFTWARE_GPU: [&str; 4] = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-angle=swiftshader",
];
/// Longest time for a screenshot.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the page is told to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// WebAssembly.
    Cpu,
    /// A GPU, or Chromium's software GPU.
    WebGpu,
}

impl Device {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "WebAssembly on the CPU",
            Self::WebGpu => "WebGPU",
        }
    }
}

/// An installed Chromium.
pub(super) struct Chromium {
    program: PathBuf,
}

/// The Chromium of this machine; `CHROMIUM` names another program.
pub(super) fn find() -> Option<Chromium> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let mut programs = named.into_iter().chain(NAMES.map(PathBuf::from));
    let works = |program: &PathBuf| process::succeeds(Command::new(program).arg("--version"));
    programs.find(works).map(|program| Chromium { program })
}

/// A running browser and the folder of its profile, both gone in the end.
pub(super) struct Running {
    child: Child,
    profile: PathBuf,
}

impl Running {
    /// Ends it.
    pub(super) fn end(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Chromium {
    /// Opens a page and leaves it open.
    pub(super) fn open(&self, url: &str, device: Device) -> Result<Running> {
        let gpu: &[&str] = match device {
            Device::Cpu => &["--disable-gpu"],
            Device::WebGpu => &SOFTWARE_GPU,
        };
        // With a debugger's pipe it stays until it is ended.
        self.start(gpu.iter().chain(&["--remote-debugging-port=0", url]))
    }

    /// Writes how a page looks when it has loaded.
    pub(super) fn screenshot(&self, url: &str, path: &Path) -> Result<()> {
        let file = format!("--screenshot={}", path.display());
        let _ = fs::remove_file(path); // of an earlier test
        let shown = ["--disable-gpu", "--window-size=1200,860", "--hide-scrollbars"];
        let wait = ["--timeout=60000", &file, url];
        let mut running = self.start(shown.iter().chain(&wait))?;
        let end = Instant::now() + PATIENCE;
        while running.child.try_wait()?.is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
        }
        running.end();
        let bytes = fs::metadata(path).map_or(0, |data| data.len());
        ensure!(bytes > 10_000, "the screenshot {} has {bytes} bytes", path.display());
        Ok(())
    }

    fn start(&self, args: impl Iterator<Item = impl AsRef<OsStr>>) -> Result<Running> {
        let profile = std::env::temp_dir().join(format!("longtail-web-{}", std::process::id()));
        let child = Command::new(&self.program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Running { child, profile })
    }
}
