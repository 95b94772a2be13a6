//! The commands of "From a folder to a detector" in the guide, typed one after the other.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/src/your-data.md");
const SECTION: &str = "### From a folder to a detector\n";
const CARGO: &str = "cargo run --release -- ";

/// The commands of each block of the section.
fn blocks() -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(SECTION).unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let blocks = section.split("```text\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    blocks
        .map(|block| block.lines().map(|line| line.strip_prefix(CARGO).unwrap()).collect())
        .collect()
}

fn run(folder: &Path, command: &str) -> String {
    let mut words: Vec<&str> = command.split_whitespace().collect();
    if words[0] == "train" {
        words.extend(["--set", "iterations=4", "--set", "schedule.warmup.iterations=2"]);
    }
    let program = env!("CARGO_BIN_EXE_longtail");
    let output = Command::new(program).args(words).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{text}{errors}");
    text
}

#[test]
fn folders_of_both_forms_become_detectors_with_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks();
    let [voc, yolo, _with_weights, drawing] = blocks.as_slice() else { panic!("{blocks:?}") };
    drawing.iter().for_each(|command| drop(run(folder.path(), command)));
    for (commands, name) in [(voc, "birds"), (yolo, "fish")] {
        for command in commands {
            let text = run(folder.path(), command);
            if command.starts_with("train") {
                assert!(text.contains("AP50") && text.contains("COCO, boxes"), "{text}");
            }
        }
        let page = fs::read_to_string(folder.path().join(format!("{name}.html"))).unwrap();
        assert!(page.ends_with("</html>\n") && page.contains("data:image/jpeg"), "{name}");
        let run = folder.path().join("runs").join(name);
        for file in ["model.safetensors", "report.json", "report.md", "ap_by_frequency.svg"] {
            assert!(run.join(file).is_file(), "{name}: no {file}");
        }
        let folder = folder.path().join(name);
        let images = folder.join(if name == "birds" { "JPEGImages" } else { "images/val" });
        let drawn = folder.parent().unwrap().join("drawn");
        for image in images.read_dir().unwrap() {
            let name = image.unwrap().file_name();
            assert!(drawn.join(&name).is_file(), "{name:?} was not drawn");
        }
    }
}
