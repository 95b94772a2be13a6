//! `longtail advise`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use longtail::eval::write_whole;
use longtail::training::{
    Advice, AnyRecipe, DatasetConfig, DatasetSource, DetectionDatasetConfig, DetectionSource,
    DetectorStart, advise_classification, advise_detection,
};

/// Options of `advise`.
#[derive(clap::Args)]
#[group(id = "set", required = true, args = ["folder", "recipe", "train_list", "annotations", "voc", "yolo"])]
pub(crate) struct Args {
    /// Folder of `train/CLASS/IMAGE` and `test/CLASS/IMAGE`.
    folder: Option<PathBuf>,
    /// The data set of a recipe instead.
    #[arg(long)]
    recipe: Option<PathBuf>,
    /// A list of training images instead (`path label` per line), as ImageNet-LT uses.
    #[arg(long, requires_all = ["test_list", "root"])]
    train_list: Option<PathBuf>,
    /// The list of test images.
    #[arg(long, requires = "train_list")]
    test_list: Option<PathBuf>,
    /// What the paths of the lists are relative to.
    #[arg(long, requires = "train_list")]
    root: Option<PathBuf>,
    /// Training annotations in the JSON of COCO or LVIS instead.
    #[arg(long, requires_all = ["images", "val"])]
    annotations: Option<PathBuf>,
    /// Folder of the training images.
    #[arg(long, requires = "annotations")]
    images: Option<PathBuf>,
    /// Validation annotations.
    #[arg(long, requires = "annotations")]
    val: Option<PathBuf>,
    /// Folder of the validation images. Default: that of the training images.
    #[arg(long, requires = "val")]
    val_images: Option<PathBuf>,
    /// A folder in the form of Pascal VOC instead, with lists `train` and `val`.
    #[arg(long)]
    voc: Option<PathBuf>,
    /// A set in the form of YOLO instead: its folder or its YAML file.
    #[arg(long)]
    yolo: Option<PathBuf>,
    /// Leaves out annotations that cannot be used, and counts them.
    #[arg(long)]
    lenient: bool,
    /// ImageNet weights for the backbone of a detector. Default: none.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// A small detector on images of at most 256 pixels, for a first look on a CPU.
    #[arg(long, conflicts_with = "weights")]
    small: bool,
    /// Writes the recipe into this file.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Args {
    fn start(&self) -> DetectorStart<'_> {
        match &self.weights {
            Some(weights) => DetectorStart::ImageNet(weights),
            None if self.small => DetectorStart::Small,
            None => DetectorStart::Scratch,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let advice = advise(&args)?;
    advice.recipe().context("the advice is no recipe")?;
    print!("{advice}");
    match &args.out {
        Some(out) => {
            write_whole(out, advice.to_toml().as_bytes())?;
            println!("\nThe recipe is {}: longtail train {}", out.display(), out.display());
        }
        None => println!("\n`--out FILE` writes the recipe."),
    }
    Ok(ExitCode::SUCCESS)
}

fn advise(args: &Args) -> anyhow::Result<Advice> {
    if let Some(recipe) = &args.recipe {
        return Ok(match AnyRecipe::load(recipe, &[""; 0])? {
            AnyRecipe::Classification(recipe) => advise_classification(&recipe.dataset)?,
            AnyRecipe::Detection(recipe) => advise_detection(&recipe.dataset, args.start())?,
            AnyRecipe::Classifier(_) => bail!(
                "{} trains a classifier on a finished run: give the recipe of that run",
                recipe.display()
            ),
        });
    }
    if let Some(source) = classification(args) {
        if let Some(weights) = &args.weights {
            bail!("--weights {}: classifiers start from fresh weights", weights.display());
        }
        let source = source?;
        let dataset = DatasetConfig { source, long_tail: None, subset_seed: 0, validation: None };
        return Ok(advise_classification(&dataset)?);
    }
    let dataset = DetectionDatasetConfig { source: detection(args)?, lenient: args.lenient };
    Ok(advise_detection(&dataset, args.start())?)
}

fn classification(args: &Args) -> Option<anyhow::Result<DatasetSource>> {
    if let Some(root) = &args.folder {
        let (train, test) = (PathBuf::from("train"), PathBuf::from("test"));
        for part in [&train, &test] {
            if !root.join(part).is_dir() {
                return Some(Err(anyhow::anyhow!(
                    "{} is no folder: the classes of training and test images are expected in \
                     {}/train and {}/test",
                    root.join(part).display(),
                    root.display(),
                    root.display()
                )));
            }
        }
        return Some(Ok(DatasetSource::ClassFolders { root: root.clone(), train, test }));
    }
    let (train, test, root) =
        (args.train_list.clone()?, args.test_list.clone()?, args.root.clone()?);
    Some(Ok(DatasetSource::List { root, train, test }))
}

fn detection(args: &Args) -> anyhow::Result<DetectionSource> {
    let name = |name: &str| name.to_string();
    if let Some(root) = args.voc.clone() {
        return Ok(DetectionSource::Voc { root, train: name("train"), val: name("val") });
    }
    if let Some(data) = args.yolo.clone() {
        return Ok(DetectionSource::Yolo { data, train: name("train"), val: name("val") });
    }
    let (Some(train), Some(images), Some(val)) = (&args.annotations, &args.images, &args.val)
    else {
        bail!("give a folder, --recipe, --train-list, --annotations, --voc or --yolo");
    };
    let val_images: &Path = args.val_images.as_deref().unwrap_or(images);
    Ok(DetectionSource::Coco {
        train: train.clone(),
        train_images: images.clone(),
        val: val.clone(),
        val_images: val_images.into(),
    })
}
