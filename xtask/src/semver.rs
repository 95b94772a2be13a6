//! `cargo xtask semver`: whether the public interface still holds what a revision had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, tools};

/// Names the rustdoc that this program stands in for.
const RUSTDOC: &str = "LONGTAIL_RUSTDOC";

/// Runs rustdoc where cargo calls this program in its place: what it may say in JSON is not stable,
/// and a compiler that was told so would compile all dependencies anew.
pub(crate) fn rustdoc(args: &[String]) -> Option<Result<()>> {
    let rustdoc = std::env::var_os(RUSTDOC)?;
    let mut rustdoc = Command::new(rustdoc);
    Some(process::run(rustdoc.args(args).env("RUSTC_BOOTSTRAP", "1").env_remove(RUSTDOC)))
}

/// Compares the libraries with a revision, the last one by default.
///
/// `cargo-semver-checks` would compile all dependencies once for each library and revision. Here one
/// run of rustdoc describes the interfaces of a revision, with the features that people get.
///
/// # Errors
/// If the tool is missing, or an interface broke without a change of version.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let revision = match args {
        [] => "HEAD~1",
        [revision] => revision,
        [_, extra, ..] => bail!("`semver` takes one revision, got `{extra}` too"),
    };
    if tools::SEMVER.find().is_none() {
        bail!("cargo-semver-checks is not installed: `cargo install --locked cargo-semver-checks`");
    }
    let folder = process::workspace_root().join("target/semver");
    let checkout = check_out(revision, &folder)?;
    let baseline = describe(&checkout, &folder.join("old"))?;
    let current = describe(&process::workspace_root(), &folder.join("new"))?;
    let mut broken = Vec::new();
    for (name, old) in &baseline {
        let Some((_, new)) = current.iter().find(|(current, _)| current == name) else {
            broken.push(format!("{name} (gone)"));
            continue;
        };
        println!("\n{name}");
        let Some(mut tool) = tools::SEMVER.find() else { continue };
        tool.args(["semver-checks", "--baseline-rustdoc"]).arg(old);
        if process::run(tool.arg("--current-rustdoc").arg(new)).is_err() {
            broken.push(name.clone());
        }
    }
    if !broken.is_empty() {
        bail!("since {revision} interfaces have changed: {}", broken.join(", "));
    }
    println!("\nsemver: {} libraries hold what they had at {revision}", baseline.len());
    Ok(())
}

/// The tree of a revision, in a folder of its own.
fn check_out(revision: &str, folder: &Path) -> Result<PathBuf> {
    let checkout = folder.join("checkout");
    if checkout.exists() {
        fs::remove_dir_all(&checkout)
            .with_context(|| format!("cannot remove {}", checkout.display()))?;
    }
    let verify = ["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")];
    let output = process::command("git").args(verify).output().context("cannot start `git`")?;
    if !output.status.success() {
        bail!("`{revision}` is no revision");
    }
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let clone = ["clone", "--quiet", "--shared", "--no-checkout", "."];
    process::run(process::command("git").args(clone).arg(&checkout))?;
    let check_out = ["checkout", "--quiet", "--detach", &commit];
    process::run(process::command("git").current_dir(&checkout).args(check_out))?;
    Ok(checkout)
}

/// Names of the libraries below `root` that are published, each with a file of its interface in `to`.
fn describe(root: &Path, to: &Path) -> Result<Vec<(String, PathBuf)>> {
    let libraries = libraries(root)?;
    println!("describing {} libraries of {}", libraries.len(), root.display());
    // Dependencies are those of all other checks.
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| process::workspace_root().join("target"));
    let mut doc = process::cargo(&["doc", "--no-deps", "--lib", "--quiet", "--target-dir"]);
    doc.arg(&target).args(libraries.iter().flat_map(|name| ["-p", name.as_str()]));
    let rustdoc = std::env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    doc.env("RUSTDOC", std::env::current_exe()?).env(RUSTDOC, rustdoc).env(
        "RUSTDOCFLAGS",
        "-Zunstable-options --output-format=json --document-private-items \
         --document-hidden-items --cap-lints=allow",
    );
    process::run(doc.current_dir(root))?;
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut described = Vec::new();
    for name in libraries {
        let file = format!("{}.json", name.replace('-', "_"));
        let (from, to) = (target.join("doc").join(&file), to.join(&file));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        described.push((name, to));
    }
    Ok(described)
}

fn libraries(root: &Path) -> Result<Vec<String>> {
    let args = ["metadata", "--format-version", "1", "--no-deps"];
    let output = process::cargo(&args).current_dir(root).output()?;
    if !output.status.success() {
        bail!("`cargo metadata` ended with {}", output.status);
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let has_library = |package: &&Value| {
        let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
        // `publish` is null where anybody may publish it, and an empty list where nobody may.
        package["publish"].is_null() && targets.iter().any(|target| target["kind"][0] == "lib")
    };
    let names = packages.iter().filter(has_library).filter_map(|package| package["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}
