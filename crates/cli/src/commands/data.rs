//! `longtail data`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use longtail::data::{ImageDataset, Split, SyntheticConfig};
use longtail::eval::{class_distribution_svg, write_whole};
use longtail::training::Recipe;
use longtail::types::ShotThresholds;
use serde_json::json;

/// Commands of `data`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Count the classes of a training set: shape of the tail, imbalance, groups.
    Stats {
        /// Folder of class folders (`DIR/CLASS/IMAGE`).
        #[arg(required_unless_present_any = ["recipe", "list"])]
        folder: Option<PathBuf>,
        /// A recipe's training set instead, cut to its long tail.
        #[arg(long, conflicts_with_all = ["folder", "list"])]
        recipe: Option<PathBuf>,
        /// A list file instead (`path label` per line), as ImageNet-LT uses.
        #[arg(long, conflicts_with = "folder", requires = "root")]
        list: Option<PathBuf>,
        /// What the paths of the list are relative to.
        #[arg(long, requires = "list")]
        root: Option<PathBuf>,
        /// Also draws the class distribution into this SVG file.
        #[arg(long)]
        plot: Option<PathBuf>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the synthetic long-tailed set as PNG class folders: `OUT/train` and `OUT/test`.
    Synth {
        /// The folder to make.
        out: PathBuf,
        /// Training images of the most frequent class.
        #[arg(long, default_value_t = SyntheticConfig::default().head_count)]
        head_count: usize,
        /// Training images of the most frequent class over those of the rarest.
        #[arg(long, default_value_t = SyntheticConfig::default().imbalance)]
        imbalance: f64,
        /// Width and height of the images.
        #[arg(long, default_value_t = SyntheticConfig::default().image_size)]
        image_size: usize,
        /// Key of the images.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Stats { folder, recipe, list, root, plot, json } => {
            let dataset = match (folder, recipe, list.zip(root)) {
                (Some(folder), ..) => ImageDataset::from_folders(folder)?,
                (_, Some(recipe), _) => Recipe::load(&recipe, &[""; 0])?.dataset.load()?.train,
                (.., Some((list, root))) => ImageDataset::from_list(&list, &root, None)?,
                _ => bail!("give a folder, --recipe, or --list with --root"),
            };
            stats(&dataset, json)?;
            if let Some(plot) = plot {
                let (classes, counts) = (dataset.class_map(), dataset.class_counts()?);
                let shots = ShotThresholds::default();
                let svg =
                    class_distribution_svg("Training images per class", classes, &counts, shots)?;
                write_whole(&plot, svg.as_bytes())?;
            }
        }
        Command::Synth { out, head_count, imbalance, image_size, seed } => {
            let settings = SyntheticConfig::default();
            let config = SyntheticConfig { head_count, imbalance, image_size, seed, ..settings };
            for split in [Split::Train, Split::Test] {
                let dataset = config.generate(split)?;
                dataset.write_folders(out.join(split.to_string()))?;
                println!("{}: {} images", out.join(split.to_string()).display(), dataset.len());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(dataset: &ImageDataset, json: bool) -> anyhow::Result<()> {
    let counts = dataset.class_counts()?;
    let names: Vec<&str> = dataset.class_map().names().collect();
    if json {
        let value = json!({
            "classes": names,
            "image_counts": counts.image_counts(),
            "num_images": counts.num_images(),
            "imbalance_factor": counts.imbalance_factor(),
            "gini": counts.gini(),
        });
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    println!("{counts}\n");
    let mut rows: Vec<(&str, u64)> =
        names.into_iter().zip(counts.image_counts().iter().copied()).collect();
    rows.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let most = rows.first().map_or(1, |&(_, count)| count.max(1));
    for (name, count) in rows {
        let bar = "#".repeat((40 * count).div_ceil(most) as usize);
        println!("{name:<width$} {count:>8} {bar}");
    }
    Ok(())
}
