//! `longtail data stats`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use longtail::data::{FileCheck, ImageDataset};
use longtail::eval::{class_distribution_svg, write_whole};
use longtail::training::AnyRecipe;
use longtail::types::{ClassCounts, ClassMap, FrequencyGroup, ShotThresholds};
use serde_json::json;

use super::input::Input;

/// Options of `data stats`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of class folders (`DIR/CLASS/IMAGE`).
    #[arg(group = "source")]
    folder: Option<PathBuf>,
    /// A recipe's training set instead, cut to its long tail.
    #[arg(long, group = "source")]
    recipe: Option<PathBuf>,
    /// A list file instead (`path label` per line), as ImageNet-LT uses.
    #[arg(long, group = "source", requires = "root")]
    list: Option<PathBuf>,
    /// What the paths of the list are relative to.
    #[arg(long, requires = "list")]
    root: Option<PathBuf>,
    #[command(flatten)]
    input: Input,
    /// Also draws the class distribution into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (classes, counts, is_detection) = load(&args)?;
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

fn load(args: &Args) -> anyhow::Result<(ClassMap, ClassCounts, bool)> {
    let images = |set: ImageDataset| -> anyhow::Result<(ClassMap, ClassCounts, bool)> {
        Ok((set.class_map().clone(), set.class_counts()?, false))
    };
    if args.input.is_given() {
        let set = args.input.load(FileCheck::None)?;
        return Ok((set.class_map().clone(), set.class_counts()?, true));
    }
    match (&args.folder, &args.recipe, args.list.as_ref().zip(args.root.as_ref())) {
        (Some(folder), ..) => images(ImageDataset::from_folders(folder)?),
        (_, Some(path), _) => match AnyRecipe::load(path, &[""; 0])? {
            AnyRecipe::Classification(recipe) => images(recipe.dataset.load()?.train),
            AnyRecipe::Classifier(recipe) => bail!(
                "{} has no data of its own: give the recipe.toml of its base, {}",
                path.display(),
                recipe.base().display()
            ),
            AnyRecipe::Detection(recipe) => {
                let set = recipe.dataset.load()?.train;
                Ok((set.class_map().clone(), set.class_counts()?, true))
            }
        },
        (.., Some((list, root))) => images(ImageDataset::from_list(list, root, None)?),
        _ => bail!("give a folder, --recipe, --list with --root, --annotations, --voc or --yolo"),
    }
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
