//! `longtail data stats`.

use std::path::PathBuf;
use std::process::ExitCode;

use longtail::eval::{class_distribution_svg, write_whole};
use longtail::types::{ClassCounts, ClassMap, FrequencyGroup, ShotThresholds};
use serde_json::json;

use super::source::{AnySet, Source};

/// Options of `data stats`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Also draws the class distribution into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (classes, counts, is_detection) = match args.source.load()? {
        AnySet::Images(set) => (set.class_map().clone(), set.class_counts()?, false),
        AnySet::Objects(set) => (set.class_map().clone(), set.class_counts()?, true),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json(&classes, &counts, is_detection))?);
    } else {
        print(&classes, &counts, is_detection);
    }
    if let Some(plot) = &args.plot {
        let shots = ShotThresholds::default();
        let title = "Training images per class";
        let svg = class_distribution_svg(title, &classes, &counts, shots)?;
        write_whole(plot, svg.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// LVIS's groups: the file's flags, else by training images.
fn group(classes: &ClassMap, counts: &ClassCounts, label: usize) -> FrequencyGroup {
    let images = counts.image_counts().get(label).copied().unwrap_or_default();
    classes.frequency(label).unwrap_or(FrequencyGroup::of(images))
}

fn json(classes: &ClassMap, counts: &ClassCounts, is_detection: bool) -> serde_json::Value {
    let mut value = json!({
        "classes": classes.names().collect::<Vec<_>>(),
        "image_counts": counts.image_counts(),
        "num_images": counts.num_images(),
        "imbalance_factor": counts.imbalance_factor(),
        "gini": counts.gini(),
    });
    if is_detection {
        let groups: Vec<FrequencyGroup> =
            (0..classes.len()).map(|label| group(classes, counts, label)).collect();
        value["instance_counts"] = json!(counts.instance_counts());
        value["frequency"] = json!(groups);
    }
    value
}

fn print(classes: &ClassMap, counts: &ClassCounts, is_detection: bool) {
    println!("{counts}");
    if is_detection {
        let groups = [FrequencyGroup::Frequent, FrequencyGroup::Common, FrequencyGroup::Rare];
        let sizes = groups.map(|wanted| {
            (0..classes.len()).filter(|&label| group(classes, counts, label) == wanted).count()
        });
        let [frequent, common, rare] = sizes;
        println!("LVIS's groups     {frequent} frequent, {common} common, {rare} rare");
    }
    println!();
    let mut rows: Vec<(usize, &str, u64)> = classes
        .names()
        .zip(counts.image_counts())
        .enumerate()
        .map(|(label, (name, &count))| (label, name, count))
        .collect();
    rows.sort_by_key(|&(.., count)| std::cmp::Reverse(count));
    let width = rows.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or_default();
    let most = rows.first().map_or(1, |&(.., count)| count.max(1));
    for (label, name, count) in rows {
        let bar = "#".repeat((40 * count).div_ceil(most) as usize);
        match counts.instance_counts().get(label).filter(|_| is_detection) {
            Some(objects) => {
                println!("{name:<width$} {count:>8} images {objects:>8} objects {bar}")
            }
            None => println!("{name:<width$} {count:>8} {bar}"),
        }
    }
}
