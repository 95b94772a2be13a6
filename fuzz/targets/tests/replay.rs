//! The kept inputs of the fuzzer, without the fuzzer: none of them is a finding.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use longtail_fuzz_targets::TARGETS;

/// Sorted, as a failure should name the same file every time.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn kept_inputs_are_no_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for target in TARGETS {
        let scratch = tempfile::tempdir().unwrap();
        let mut count = 0;
        for kind in ["corpus", "regressions"] {
            for file in files(&root.join(kind).join(target.name())) {
                let bytes = fs::read(&file).unwrap();
                let run = || target.run(&bytes, scratch.path());
                let outcome = std::panic::catch_unwind(run);
                assert!(outcome.is_ok(), "{} is a finding", file.display());
                count += 1;
            }
        }
        assert!(count > 0, "{} has no corpus", target.name());
    }
}
