//! `cargo xtask pictures`: the pictures of the README and the guide, made by the product.

use std::fs;

use anyhow::{Context, Result};

use crate::process;

/// Where a picture comes from in the folder of `longtail demo`, and its name in the guide.
const PICTURES: [(&str, &str); 4] = [
    ("comparison.svg", "demo.svg"),
    ("bce/class_distribution.svg", "class-distribution.svg"),
    ("balanced-sigmoid/ap_by_frequency.svg", "ap-by-frequency.svg"),
    ("balanced-sigmoid/errors.svg", "errors.svg"),
];

/// Runs the demo, which takes minutes, and takes its pictures into `docs/src/pictures`.
pub(crate) fn run() -> Result<()> {
    let root = process::workspace_root();
    let (demo, guide) = (root.join("target/pictures"), root.join("docs/src/pictures"));
    process::run(process::cargo(&["run", "--release", "--", "demo", "--out"]).arg(&demo))?;
    fs::create_dir_all(&guide).with_context(|| format!("cannot make {}", guide.display()))?;
    for (from, to) in PICTURES {
        let (from, to) = (demo.join(from), guide.join(to));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        println!("{}", to.display());
    }
    Ok(())
}
