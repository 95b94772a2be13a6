//! A data set of either task named on the command line.

use std::path::PathBuf;

use anyhow::bail;
use longtail::data::{DetectionDataset, FileCheck, ImageDataset, ReadMode};
use longtail::training::AnyRecipe;

use super::input::Input;

/// A set of images with classes or with boxes, in one of many forms.
#[derive(clap::Args)]
pub(super) struct Source {
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
}

/// What a [`Source`] names.
pub(super) enum AnySet {
    /// Images with one class each.
    Images(ImageDataset),
    /// Images with objects.
    Objects(DetectionDataset),
}

impl Source {
    /// Reads the set as a training does: the first error refuses it, unless `--lenient` is given.
    pub(super) fn load(&self) -> anyhow::Result<AnySet> {
        self.load_with(|input| input.load(FileCheck::None), false)
    }

    /// Reads all that can be used, and keeps a list of what cannot.
    pub(super) fn load_leniently(&self, files: FileCheck) -> anyhow::Result<AnySet> {
        self.load_with(|input| input.load_as(ReadMode::Lenient, files), true)
    }

    fn load_with(
        &self,
        load: impl Fn(&Input) -> anyhow::Result<DetectionDataset>,
        is_lenient: bool,
    ) -> anyhow::Result<AnySet> {
        if self.input.is_given() {
            return Ok(AnySet::Objects(load(&self.input)?));
        }
        Ok(match (&self.folder, &self.recipe, self.list.as_ref().zip(self.root.as_ref())) {
            (Some(folder), ..) => AnySet::Images(ImageDataset::from_folders(folder)?),
            (_, Some(path), _) => match AnyRecipe::load(path, &[""; 0])? {
                AnyRecipe::Classification(recipe) => AnySet::Images(recipe.dataset.load()?.train),
                AnyRecipe::Classifier(recipe) => bail!(
                    "{} has no data of its own: give the recipe.toml of its base, {}",
                    path.display(),
                    recipe.base().display()
                ),
                AnyRecipe::Detection(mut recipe) => {
                    recipe.dataset.lenient |= is_lenient;
                    AnySet::Objects(recipe.dataset.load()?.train)
                }
            },
            (.., Some((list, root))) => AnySet::Images(ImageDataset::from_list(list, root, None)?),
            _ => {
                bail!("give a folder, --recipe, --list with --root, --annotations, --voc or --yolo")
            }
        })
    }

    /// What the set is called, for people: the last part of its path.
    pub(super) fn name(&self) -> String {
        let path = [&self.folder, &self.recipe, &self.list].into_iter().flatten().next();
        let path = path.or_else(|| self.input.path());
        let name = path.and_then(|path| path.file_stem().or(path.file_name()));
        name.map_or_else(|| "data set".into(), |name| name.to_string_lossy().into_owned())
    }

    /// Where it comes from, for people.
    pub(super) fn describe(&self) -> String {
        if self.input.is_given() {
            return self.input.describe();
        }
        match (&self.folder, &self.recipe, &self.list) {
            (Some(folder), ..) => format!("class folders in {}", folder.display()),
            (_, Some(recipe), _) => format!("training set of the recipe {}", recipe.display()),
            (.., Some(list)) => format!("list {}", list.display()),
            _ => String::new(),
        }
    }
}
