//! `longtail data browse`.

mod pick;
mod pictures;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use longtail::data::{DetectionDataset, FileCheck, Problems};
use longtail::eval::{BoxShapes, DatasetPage, ProblemGroup, write_whole};
use longtail::types::{ClassCounts, ClassMap};

use super::check::Files;
use super::source::{AnySet, Source};
use crate::page::{Budget, megabytes};
use pick::Picks;
use pictures::{Maker, examples};

/// Options of `data browse`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// The HTML file to write.
    #[arg(long)]
    out: PathBuf,
    /// Pictures of each class; 0 shows none.
    #[arg(long, default_value_t = 4)]
    per_class: usize,
    /// Pictures only of classes whose name contains one of these texts.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    classes: Vec<String>,
    /// Longer side of a picture in pixels.
    #[arg(long, default_value_t = 144)]
    side: usize,
    /// Pictures are left out once they take more than this many megabytes, from the last picture of
    /// each class backwards.
    #[arg(long, default_value_t = 32.0)]
    max_mb: f64,
    /// What is checked about the image files of a set with boxes.
    #[arg(long, default_value = "size")]
    files: Files,
    /// Key of the choice of pictures.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Problems shown of each kind.
const MAX_SHOWN: usize = 20;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.side == 0 || args.side > 1024 {
        bail!("--side {}: pictures are 1 to 1024 pixels wide", args.side);
    }
    let budget = Budget::from_megabytes("--max-mb", args.max_mb)?;
    let set = args.source.load_leniently(FileCheck::from(args.files))?;
    let (classes, counts) = match &set {
        AnySet::Images(set) => (set.class_map(), set.class_counts()?),
        AnySet::Objects(set) => (set.class_map(), set.class_counts()?),
    };
    let chosen = chosen(classes, &args.classes)?;
    let mut notes = Vec::new();
    if chosen.len() < classes.len() {
        let (shown, all) = (chosen.len(), classes.len());
        notes.push(format!("Pictures of {shown} of {all} classes: --classes names no others."));
    }
    let order = by_frequency(&chosen, &counts);
    let (picks, maker) = match &set {
        AnySet::Images(set) => {
            (Picks::of_images(set, &order, args.per_class, args.seed), Maker::Images(set))
        }
        AnySet::Objects(set) => {
            (Picks::of_objects(set, &order, args.per_class, args.seed), Maker::Objects(set))
        }
    };
    let made = examples(&picks, &maker, args.side, budget);
    notes.extend(made.notes(args.max_mb));
    let (shapes, facts, problems) = match &set {
        AnySet::Images(_) => (None, Vec::new(), Vec::new()),
        AnySet::Objects(set) => (Some(shapes(set)), facts(set), problem_groups(set.problems())),
    };
    let num_pictures = made.num_pictures();
    let page = DatasetPage {
        title: args.source.name(),
        source: args.source.describe(),
        classes,
        counts: &counts,
        shapes,
        facts,
        problems,
        examples: made.examples,
        notes,
    };
    let html = page.html()?;
    write_whole(&args.out, html.as_bytes())?;
    println!(
        "{}: {} classes, {num_pictures} pictures, {}",
        args.out.display(),
        classes.len(),
        megabytes(html.len()),
    );
    page.notes.iter().for_each(|note| println!("{note}"));
    Ok(ExitCode::SUCCESS)
}

/// Labels of the classes whose names contain one of the texts, in any case; all without texts.
fn chosen(classes: &ClassMap, texts: &[String]) -> anyhow::Result<Vec<usize>> {
    let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
    let is_chosen = |name: &str| {
        let name = name.to_lowercase();
        texts.is_empty() || texts.iter().any(|text| name.contains(text))
    };
    let names = classes.names().enumerate();
    let labels: Vec<usize> =
        names.filter(|(_, name)| is_chosen(name)).map(|(label, _)| label).collect();
    if labels.is_empty() && !classes.is_empty() {
        bail!("--classes {}: the name of no class contains that", texts.join(","));
    }
    Ok(labels)
}

/// From most to fewest images, equal ones in label order.
fn by_frequency(labels: &[usize], counts: &ClassCounts) -> Vec<usize> {
    let mut order = labels.to_vec();
    order.sort_by_key(|&label| std::cmp::Reverse(counts.image_counts()[label]));
    order
}

fn shapes(set: &DetectionDataset) -> BoxShapes {
    let mut shapes = BoxShapes::default();
    for image in 0..set.num_images() {
        let size = set.image_size(image);
        let mut num_objects = 0;
        for target in set.targets(image) {
            let bbox = target.bbox.clip(size);
            shapes.add_box(f64::from(bbox.width()), f64::from(bbox.height()));
            num_objects += 1;
        }
        shapes.add_image(num_objects);
    }
    shapes
}

/// Numbers beside those of the classes.
fn facts(set: &DetectionDataset) -> Vec<(String, String)> {
    let empty = set.num_images() - set.annotated_images().len();
    let never = (0..set.num_images())
        .map(|image| set.annotations(image).len() - set.targets(image).count());
    let mut facts = vec![(empty.to_string(), "images without objects".to_string())];
    let never: usize = never.sum();
    if never > 0 {
        facts.push((never.to_string(), "crowds and ignored objects".into()));
    }
    facts
}

fn problem_groups(problems: &Problems) -> Vec<ProblemGroup> {
    let groups = problems.counts().into_iter().map(|(kind, count)| {
        let of_kind = problems.list().iter().filter(|problem| problem.kind == kind);
        ProblemGroup {
            name: kind.name().to_string(),
            is_error: kind.is_error(),
            count,
            first: of_kind.take(MAX_SHOWN).map(ToString::to_string).collect(),
        }
    });
    let mut groups: Vec<ProblemGroup> = groups.collect();
    groups.sort_by_key(|group| !group.is_error); // stable: errors first
    groups
}
