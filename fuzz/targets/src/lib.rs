//! What the fuzzer calls: every parser, on bytes.
//!
//! A [`Target`] reads bytes as a file of its kind, goes through the outcome as a program would, and
//! panics where something is wrong: a panic, a hang or a large allocation of a parser is a finding,
//! and so is a broken promise, such as a written file that is not read again. Errors are fine.
//!
//! `cargo xtask fuzz` runs them under libFuzzer; the tests of this crate run them on the kept
//! inputs of `fuzz/corpus` and `fuzz/regressions`.

mod annotations;
mod checkpoints;
mod folders;
mod images;
mod masks;
mod recipes;
mod results;

use std::fs;
use std::path::{Path, PathBuf};

/// A parser to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    name: &'static str,
    run: fn(&[u8], &Scratch<'_>),
}

const fn target(name: &'static str, run: fn(&[u8], &Scratch<'_>)) -> Target {
    Target { name, run }
}

/// All of them.
pub const TARGETS: [Target; 15] = [
    target("coco", annotations::coco),
    target("lvis", annotations::lvis),
    target("ground-truth", annotations::ground_truth),
    target("detections", annotations::detections),
    target("masks", masks::masks),
    target("voc", folders::voc),
    target("yolo-labels", folders::yolo_labels),
    target("yolo-settings", folders::yolo_settings),
    target("image-list", folders::image_list),
    target("cifar", folders::cifar),
    target("image", images::image),
    target("recipe", recipes::recipe),
    target("checkpoint", checkpoints::checkpoint),
    target("weights", checkpoints::weights),
    target("results", results::results),
];

impl Target {
    /// The target of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Its name: that of its folders in `fuzz/corpus` and `fuzz/regressions`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the parser on these bytes; `folder` is for its files.
    ///
    /// # Panics
    /// On a finding.
    pub fn run(&self, bytes: &[u8], folder: &Path) {
        (self.run)(bytes, &Scratch(folder));
    }
}

/// The folder for files that parsers read.
struct Scratch<'a>(&'a Path);

impl Scratch<'_> {
    /// A file with this content; its folders are made.
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        if fs::write(&path, content).is_err() {
            let folder = path.parent().unwrap_or(self.0);
            let made = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
            made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        path
    }

    /// A file that is the same in every run.
    fn constant(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        if path.exists() { path } else { self.file(name, content) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
