//! The fuzzer of one parser, which the variable `FUZZ_TARGET` names.
//!
//! `FUZZ_SCRATCH` is a folder for the files that a parser reads, best in memory.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use longtail_fuzz_targets::Target;

static CHOSEN: OnceLock<(&Target, PathBuf)> = OnceLock::new();

fn choose() -> (&'static Target, PathBuf) {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = Target::find(&name).unwrap_or_else(|| panic!("no target `{name}`"));
    let scratch = std::env::var_os("FUZZ_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from);
    (target, scratch)
}

fuzz_target!(init: drop(CHOSEN.set(choose())), |data: &[u8]| {
    if let Some((target, scratch)) = CHOSEN.get() {
        target.run(data, scratch);
    }
});
