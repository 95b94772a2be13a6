//! From Rust to what a browser loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

const TARGET: &str = "wasm32-unknown-unknown";
/// Vectors of 128 bits, which every browser of today has, and random numbers from the browser.
const FLAGS: &str = "--cfg getrandom_backend=\"wasm_js\" -C target-feature=+simd128";

/// What writes kernels for a GPU: it runs once for each kernel, and takes most of the build's time
/// unless it is optimised less.
const KERNEL_WRITERS: [&str; 8] = [
    "burn-cubecl",
    "cubek-attention",
    "cubek-convolution",
    "cubek-matmul",
    "cubek-quant",
    "cubek-reduce",
    "cubek-std",
    "cubek-tile",
];

/// Adds what the build wants beside a Rust toolchain; says what could not be had.
pub(super) fn missing() -> Result<Option<String>> {
    if !has_target() {
        let added = process::command("rustup").args(["target", "add", TARGET]).status();
        if !(added.is_ok_and(|status| status.success()) && has_target()) {
            return Ok(Some(format!("the target {TARGET} could not be added")));
        }
    }
    let version = bindgen_version()?;
    if bindgen_is(&version) {
        return Ok(None);
    }
    println!("installing wasm-bindgen {version} into target/tools");
    let root = tools();
    let install = |locked: &[&str]| {
        let status = process::cargo(&["install", "--quiet", "--debug", "--force"])
            .args(["wasm-bindgen-cli", "--bin", "wasm-bindgen", "--version"])
            .arg(format!("={version}"))
            .args(locked)
            .arg("--root")
            .arg(&root)
            .env("CARGO_TARGET_DIR", root.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .status();
        status.is_ok_and(|status| status.success())
    };
    // A registry may lack a version that the program's lock file names.
    let installed = install(&["--locked"]) || install(&[]);
    let _ = fs::remove_dir_all(root.join("build")); // space alone
    match installed && bindgen_is(&version) {
        true => Ok(None),
        false => Ok(Some(format!("wasm-bindgen {version} could not be installed"))),
    }
}

fn has_target() -> bool {
    let mut rustc = process::command("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).stderr(Stdio::null());
    let output = rustc.output();
    let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    folder.is_ok_and(|folder| !folder.is_empty() && Path::new(&folder).is_dir())
}

fn tools() -> PathBuf {
    process::workspace_root().join("target/tools")
}

fn bindgen() -> PathBuf {
    tools().join("bin/wasm-bindgen")
}

fn bindgen_is(version: &str) -> bool {
    let output = process::command(bindgen()).arg("--version").stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == version)
    })
}

/// The version of the crate in `Cargo.lock`: program and crate must be of one version.
fn bindgen_version() -> Result<String> {
    let lock = fs::read_to_string(process::workspace_root().join("Cargo.lock"))
        .context("cannot read Cargo.lock")?;
    version_in(&lock, "wasm-bindgen").context("Cargo.lock has no wasm-bindgen")
}

fn version_in(lock: &str, name: &str) -> Option<String> {
    let name = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = \"")?;
    version.strip_suffix('"').map(str::to_owned)
}

/// Compiles the page's program, for the CPU or for WebGPU too, and writes it, with its JavaScript
/// side, into `folder`.
pub(super) fn wasm(folder: &Path, webgpu: bool) -> Result<()> {
    let build = process::workspace_root().join("target/web-build");
    let mut cargo = process::cargo(&["rustc", "--release", "--package", "browser", "--lib"]);
    if webgpu {
        let settings = KERNEL_WRITERS
            .map(|name| format!("--config=profile.release.package.{name}.opt-level=1"));
        cargo.args(["--features", "webgpu"]).args(settings);
    }
    process::run(
        cargo
            .args(["--target", TARGET, "--crate-type", "cdylib"])
            .arg("--target-dir")
            .arg(&build)
            .env("RUSTFLAGS", FLAGS)
            .env_remove("CARGO_ENCODED_RUSTFLAGS"),
    )?;
    let program = build.join(TARGET).join("release/browser.wasm");
    process::run(
        process::command(bindgen())
            .args(["--target", "web", "--no-typescript", "--remove-name-section"])
            .args(["--remove-producers-section", "--out-dir"])
            .arg(folder)
            .arg(program),
    )
}

/// `longtail`, and the program that writes the files of the page.
pub(super) fn native() -> Result<[PathBuf; 2]> {
    let names = ["longtail", "bundle"];
    let output = process::cargo(&["build", "--release", "--package", "longtail-cli", "--package"])
        .args(["browser", "--bin", names[0], "--bin", names[1], "--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo build` ended with {}", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let [longtail, bundle] = names.map(|name| executable(&messages, name));
    Ok([longtail?, bundle?])
}

/// The program of this name among cargo's messages, which are JSON lines.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_name = |message: Value| {
        let is_it = message["target"]["name"] == name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    messages.filter_map(of_name).next_back().with_context(|| format!("cargo built no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_those_that_cargo_names() {
        let messages = "{\"reason\":\"x\",\"target\":{\"name\":\"longtail\"},\"executable\":null}\n\
                        {\"target\":{\"name\":\"longtail\"},\"executable\":\"/t/longtail\"}\nwarning";
        assert_eq!(executable(messages, "longtail").unwrap(), PathBuf::from("/t/longtail"));
        let message = executable(messages, "bundle").unwrap_err().to_string();
        assert_eq!(message, "cargo built no `bundle`");
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(version_in(lock, "wasm-bindgen").as_deref(), Some("0.2.130"));
        assert_eq!(version_in(lock, "web-sys"), None);
        assert!(bindgen_version().unwrap().starts_with("0.2."));
    }
}
