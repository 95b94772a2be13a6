//! Properties of readers, on drawn values and damaged files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestRng, TestRunner};

/// What a property says about a case.
pub type Outcome = Result<(), TestCaseError>;

/// Checks a property on so many cases, the same ones on every run.
///
/// # Panics
/// With the simplest case found for which it does not hold.
pub fn holds<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> Outcome) {
    let config = ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    if let Err(failure) = TestRunner::new_with_rng(config, rng).run(&strategy, property) {
        panic!("{failure}");
    }
}

/// Calls a reader: a panic is no outcome that it may have.
///
/// # Errors
/// If it panics.
pub fn calm<T>(read: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| TestCaseError::fail("a panic, printed above"))
}

/// That a message says which file it is about.
///
/// # Errors
/// If it does not.
pub fn names_file(message: &str, path: &Path) -> Outcome {
    let path = path.display().to_string();
    prop_assert!(message.contains(&path), "the message does not name {}: {}", path, message);
    Ok(())
}

/// A change of a file.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A byte is another one.
    Replace(Index, u8),
    /// A byte more.
    Insert(Index, u8),
    /// A byte less.
    Remove(Index),
    /// All from there on is missing.
    Cut(Index),
}

/// One to three changes anywhere; half of the new bytes are some that parsers look for.
pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let known = select(b"\"'[]{}<>,:;/#&=-+.0123456789eE \n\r\t\0".to_vec());
    let byte = prop_oneof![any::<u8>(), known].boxed();
    let place = any::<Index>;
    let damage = prop_oneof![
        4 => (place(), byte.clone()).prop_map(|(place, byte)| Damage::Replace(place, byte)),
        2 => (place(), byte).prop_map(|(place, byte)| Damage::Insert(place, byte)),
        2 => place().prop_map(Damage::Remove),
        1 => place().prop_map(Damage::Cut),
    ];
    vec(damage, 1..4)
}

/// The bytes after all changes.
pub fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        // One place after the last byte, so that there is always one.
        let at = |place: &Index| place.index(bytes.len() + 1);
        match damage {
            Damage::Replace(place, byte) => {
                let at = at(place);
                bytes.splice(at..(at + 1).min(bytes.len()), [*byte]);
            }
            Damage::Insert(place, byte) => bytes.insert(at(place), *byte),
            Damage::Remove(place) => {
                let at = at(place);
                bytes.drain(at..(at + 1).min(bytes.len()));
            }
            Damage::Cut(place) => bytes.truncate(at(place)),
        }
    }
    bytes
}

/// Changes a file.
///
/// # Panics
/// If it cannot be read or written.
pub fn damage_file(path: &Path, damages: &[Damage]) {
    let changed = fs::read(path).and_then(|bytes| fs::write(path, damaged(&bytes, damages)));
    changed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
