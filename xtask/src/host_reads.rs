//! `cargo xtask host-reads`: the training path reads from the device through one function only.
//!
//! Besides the reads that show their name, Burn has operations that read in secret: their result
//! has as many rows as the values say, or a GPU has no kernel for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// The crates a training step passes through.
const CRATES: [&str; 6] = ["kernels", "ops", "losses", "models", "data", "training"];

/// Names that read. `into_data` also stands for `try_into_data_as` and its other relatives.
const READS: [&str; 20] = [
    "into_data",
    "to_data",
    "into_scalar",
    "into_vec_as",
    "to_vec_as",
    "all_close",
    "argwhere",
    "nonzero",
    "mask_select",
    "one_hot",
    "one_hot_fill",
    "sort_with_indices",
    "sort_descending",
    "argsort",
    "topk",
    "read_sync",
    "read_one",
    "float_into_data",
    "int_into_data",
    "bool_into_data",
];

/// Where one of these names is right, and why.
const ALLOWED: [(&str, &str, &str); 2] = [
    ("crates/kernels/src/host_read.rs", "into_data", "the function that counts"),
    ("crates/models/src/weight_fit.rs", "into_data", "weights from and to a file"),
];

/// Checks the sources of this workspace.
pub(crate) fn run() -> Result<()> {
    let root = process::workspace_root();
    let mut found = Vec::new();
    let mut num_files = 0;
    for name in CRATES {
        for file in sources(&root.join("crates").join(name).join("src"))? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let path = file.strip_prefix(&root).unwrap_or(&file);
            found.extend(violations(&path.to_string_lossy().replace('\\', "/"), &text));
            num_files += 1;
        }
    }
    if !found.is_empty() {
        bail!(
            "{} reads from the device that nothing counts; use `longtail_kernels::read_back` or \
             `read_floats`, or a form without a read:\n  {}",
            found.len(),
            found.join("\n  ")
        );
    }
    println!("host reads: {num_files} files read from the device through one function");
    Ok(())
}

/// All Rust files below a folder, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            // Folders and files of tests stand behind `#[cfg(test)]` in the module above.
            if !path.ends_with("tests") {
                files.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
    name == "tests" || name == "testing" || name.ends_with("_tests")
}

/// `path:line: name` of every read outside comments and the tests at the end of a file.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("mod tests {") {
            break; // the tests of a file stand last
        }
        let code = line.split("//").next().unwrap_or_default();
        for word in words(code) {
            let read = READS.iter().find(|&&read| is_form_of(word, read));
            let is_allowed =
                |read: &str| ALLOWED.iter().any(|&(file, name, _)| file == path && name == read);
            if read.is_some_and(|read| !is_allowed(read)) {
                found.push(format!("{path}:{}: {word}", index + 1));
            }
        }
    }
    found
}

/// Identifiers of a line that are used, not defined.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut before = "";
    code.split(move |c| !is_part(c)).filter(|word| !word.is_empty()).filter(move |word| {
        let is_definition = before == "fn";
        before = word;
        !is_definition
    })
}

/// Whether a word is the read, or `try_` before it, or a type or `async` behind it.
fn is_form_of(word: &str, read: &str) -> bool {
    let word = word.strip_prefix("try_").unwrap_or(word);
    let rest = word.strip_prefix(read);
    rest.is_some_and(|rest| ["", "_as", "_dtype", "_async"].contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        violations("crates/ops/src/nms.rs", text)
    }

    #[test]
    fn every_read_is_found_with_its_line() {
        let text = "fn keep(t: Tensor<1>) {\n    let a = t.clone().into_data();\n    \
                    t.map(Tensor::to_data);\n    one_hot(3)\n}\n";
        let place = "crates/ops/src/nms.rs";
        let expected = [(2, "into_data"), (3, "to_data"), (4, "one_hot")]
            .map(|(line, name)| format!("{place}:{line}: {name}"));
        assert_eq!(check(text), expected);
        for name in ["try_into_data_as", "into_scalar_async", "try_to_data", "argwhere_async"] {
            assert_eq!(check(&format!("x.{name}()")), [format!("{place}:1: {name}")]);
        }
    }

    #[test]
    fn comments_tests_and_own_functions_are_no_reads() {
        let text = "// `one_hot` reads back\nfn to_data() {}\nlet into_database = 1;\n\
                    #[cfg(test)]\nmod tests { x.into_data() }\n";
        assert_eq!(check(text), [""; 0]);
    }

    #[test]
    fn an_allowance_is_for_one_name_in_one_file() {
        let path = "crates/models/src/weight_fit.rs";
        assert_eq!(violations(path, "bridge::into_data(stored)"), [""; 0]);
        assert_eq!(violations(path, "x.into_scalar()"), [format!("{path}:1: into_scalar")]);
    }

    #[test]
    fn files_of_tests_are_left_out() {
        let is_test = |name: &str| is_test(Path::new(name));
        assert!(is_test("src/tests.rs") && is_test("src/random_tests.rs"));
        assert!(!is_test("src/test_set.rs"));
    }
}
