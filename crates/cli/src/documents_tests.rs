//! The commands in the README and the guide are commands of this program.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Cli;

/// Markdown files below a folder.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    found.extend(folders.iter().flat_map(|folder| markdown(folder)));
    found
}

/// Lines of the fenced blocks, those that end with a backslash joined with the next.
fn fenced_lines(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The arguments of `longtail ARGS` or `cargo run --release .. -- ARGS`.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let own = line.strip_prefix("longtail ");
    let by_cargo = || {
        let rest = line.strip_prefix("cargo run --release ")?;
        let (options, arguments) = rest.split_once("-- ")?;
        (!options.contains("-p ")).then_some(arguments)
    };
    let arguments = shlex::split(own.or_else(by_cargo)?).expect("balanced quotes");
    Some(["longtail".to_owned()].into_iter().chain(arguments).collect())
}

#[test]
fn commands_in_the_documents_are_commands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = markdown(&root.join("docs/src"));
    documents.push(root.join("README.md"));
    let mut num_commands = 0;
    let mut wrong = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for line in fenced_lines(&text) {
            let Some(arguments) = arguments(&line) else { continue };
            // Commands of features that this build lacks.
            if arguments[1] == "device-server" && cfg!(not(feature = "remote")) {
                continue;
            }
            num_commands += 1;
            if let Err(error) = Cli::command().try_get_matches_from(&arguments) {
                use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
                if !matches!(error.kind(), DisplayHelp | DisplayVersion) {
                    wrong.push(format!("{}: {line}\n{error}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(num_commands >= 60, "{num_commands} commands found");
}

#[test]
fn lines_are_joined_and_comments_dropped() {
    let text = "```text\ncargo run --release --features wgpu -- demo \\\n    --device wgpu # here\nls\n```\n";
    let lines = fenced_lines(text);
    let found: Vec<_> = lines.iter().filter_map(|line| arguments(line)).collect();
    assert_eq!(found, [["longtail", "demo", "--device", "wgpu"]]);
}
