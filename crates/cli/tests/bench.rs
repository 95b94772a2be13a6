//! `longtail bench`: files, merging, and refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.arg("bench").args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn a_quick_run_writes_what_a_merge_reads() {
    let folder = TempDir::new().unwrap();
    let arguments = ["--quick", "--suite", "nms,losses", "--only", "eql", "--out", "one"];
    let output = bench(folder.path(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = fs::read_to_string(folder.path().join("one/bench.md")).unwrap();
    assert!(table.contains("| eql-v2 [64, 80] | forward+backward |"), "{table}");
    assert!(!table.contains("focal"), "{table}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(table.trim_end()));
    assert!(folder.path().join("one/logits.svg").exists());

    let merge = ["--merge", "one/bench.json", "one/bench.json", "--out", "two"];
    let output = bench(folder.path(), &merge);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = fs::read_to_string(folder.path().join("two/bench.md")).unwrap();
    assert!(table.contains("## Devices side by side"), "{table}");
}

#[test]
fn refusals_name_the_value_and_what_is_known() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("other.json"), "{}").unwrap();
    for (arguments, parts) in [
        (&["--suite", "loss"][..], &["unknown suite \"loss\"; known: dense-head, losses"][..]),
        (&["--device", "gpu"], &["unknown device \"gpu\"; usable here: flex"]),
        (&["--suite", "nms", "--only", "conv"], &["no case of nms contains \"conv\""]),
        (&["--rounds", "0"], &["rounds must be positive, got 0"]),
        (&["--peer", "/no/python"], &["/no/python", "cannot be started"]),
        (&["--merge", "none.json"], &["cannot read none.json"]),
        (&["--merge", "other.json"], &["other.json is no benchmark report", "format"]),
    ] {
        let output = bench(folder.path(), arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}
