//! `longtail data synth` and `longtail data synth-classes`.

use std::path::PathBuf;
use std::process::ExitCode;

use longtail::data::{Split, SyntheticConfig, SyntheticContents, SyntheticDetectionConfig};

/// Options of `data synth`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to make.
    out: PathBuf,
    /// The size of LVIS v1: 100,000 training images, 1203 classes, about 1.27 million objects.
    #[arg(long)]
    lvis_scale: bool,
    /// Writes no images.
    #[arg(long)]
    annotations_only: bool,
    /// Classes. Default: 48.
    #[arg(long)]
    classes: Option<usize>,
    /// Training images. Default: 1200.
    #[arg(long)]
    train_images: Option<usize>,
    /// Training images that hold the most frequent class. Default: 1000.
    #[arg(long)]
    head_count: Option<usize>,
    /// Validation objects of each class. Default: 25.
    #[arg(long)]
    test_instances: Option<usize>,
    /// Width and height of the images. Default: 96.
    #[arg(long)]
    image_size: Option<usize>,
    /// Key of the set.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut config = match args.lvis_scale {
        true => SyntheticDetectionConfig::lvis_scale(),
        false => SyntheticDetectionConfig::default(),
    };
    config.seed = args.seed;
    config.num_classes = args.classes.unwrap_or(config.num_classes);
    config.train_images = args.train_images.unwrap_or(config.train_images);
    config.head_count = args.head_count.unwrap_or(config.head_count);
    config.test_instances = args.test_instances.unwrap_or(config.test_instances);
    config.width = args.image_size.unwrap_or(config.width);
    config.height = args.image_size.unwrap_or(config.height);
    let contents = match args.annotations_only {
        true => SyntheticContents::AnnotationsOnly,
        false => SyntheticContents::ImagesAndAnnotations,
    };
    let written = config.write(&args.out, contents)?;
    println!(
        "{}: {} images, {} objects, {} polygons",
        args.out.display(),
        written.images,
        written.annotations,
        written.polygons,
    );
    Ok(ExitCode::SUCCESS)
}

/// Options of `data synth-classes`.
#[derive(clap::Args)]
pub(crate) struct ClassArgs {
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
}

pub(super) fn run_classes(args: &ClassArgs) -> anyhow::Result<ExitCode> {
    let config = SyntheticConfig {
        head_count: args.head_count,
        imbalance: args.imbalance,
        image_size: args.image_size,
        seed: args.seed,
        ..SyntheticConfig::default()
    };
    for split in [Split::Train, Split::Test] {
        let dataset = config.generate(split)?;
        let folder = args.out.join(split.to_string());
        dataset.write_folders(&folder)?;
        println!("{}: {} images", folder.display(), dataset.len());
    }
    Ok(ExitCode::SUCCESS)
}
