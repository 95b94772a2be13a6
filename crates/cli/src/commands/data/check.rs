//! `longtail data check`.

use std::process::ExitCode;

use clap::ValueEnum;
use longtail::data::{FileCheck, Problem, ReadMode};
use serde_json::json;

use super::input::Input;

/// Options of `data check`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    input: Input,
    /// What is checked about the image files.
    #[arg(long, default_value = "size")]
    files: Files,
    /// Problems shown of each kind; 0 shows all.
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// Prints JSON, with all problems.
    #[arg(long)]
    json: bool,
}

/// What is checked about image files, as an option.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Files {
    /// Nothing.
    None,
    /// That they are there.
    Exists,
    /// Also that their size is that of the annotations.
    Size,
    /// Also that they can be decoded.
    Decode,
}

impl From<Files> for FileCheck {
    fn from(files: Files) -> Self {
        match files {
            Files::None => Self::None,
            Files::Exists => Self::Exists,
            Files::Size => Self::Size,
            Files::Decode => Self::Decode,
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The lenient reader goes on after a problem, so that all of them are listed.
    let set = args.input.load_as(ReadMode::Lenient, args.files.into())?;
    let problems = set.problems();
    let num_errors = problems.errors().count();
    if args.json {
        let entry = |problem: &Problem| {
            json!({
                "kind": problem.kind.name(),
                "is_error": problem.kind.is_error(),
                "place": problem.place,
                "message": problem.message,
            })
        };
        let value = json!({
            "num_images": set.num_images(),
            "num_annotations": set.num_annotations(),
            "num_classes": set.num_classes(),
            "num_errors": num_errors,
            "problems": problems.list().iter().map(entry).collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&value)?);
    } else {
        let (images, objects) = (set.num_images(), set.num_annotations());
        println!("{images} images, {objects} annotations, {} classes", set.num_classes());
        for (kind, count) in problems.counts() {
            let rank = if kind.is_error() { "error" } else { "note" };
            println!("\n{rank}: {} ({count})", kind.name());
            let limit = if args.show == 0 { usize::MAX } else { args.show };
            for problem in problems.list().iter().filter(|one| one.kind == kind).take(limit) {
                println!("  {}: {}", problem.place, problem.message);
            }
            if count > limit {
                println!("  .. and {} more", count - limit);
            }
        }
        if problems.is_empty() {
            println!("nothing is wrong");
        }
    }
    Ok(if num_errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
