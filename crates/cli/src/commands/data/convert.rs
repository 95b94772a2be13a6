//! `longtail data convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use longtail::data::{AnnotationForm, DetectionDataset, FileCheck};

use super::input::Input;

/// Options of `data convert`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    input: Input,
    /// The JSON file to write.
    #[arg(long)]
    out: PathBuf,
    /// Its form. Default: LVIS where the set names absent classes, else COCO.
    #[arg(long)]
    form: Option<Form>,
    /// Keeps the images with these ids alone, in this order.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    keep: Vec<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Coco,
    Lvis,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut set = args.input.load(FileCheck::None)?;
    if !args.keep.is_empty() {
        set = keep(&set, &args.keep)?;
    }
    let form = match args.form {
        Some(Form::Coco) => AnnotationForm::Coco,
        Some(Form::Lvis) => AnnotationForm::Lvis,
        None if set.is_federated() => AnnotationForm::Lvis,
        None => AnnotationForm::Coco,
    };
    set.write_coco(&args.out, form)?;
    let left_out = set.problems().errors().count();
    println!(
        "{}: {} images, {} annotations, {} classes; {left_out} problems left out",
        args.out.display(),
        set.num_images(),
        set.num_annotations(),
        set.num_classes(),
    );
    Ok(ExitCode::SUCCESS)
}

fn keep(set: &DetectionDataset, ids: &[u64]) -> anyhow::Result<DetectionDataset> {
    let mut indices = Vec::with_capacity(ids.len());
    for &id in ids {
        match (0..set.num_images()).find(|&index| set.image(index).id == id) {
            Some(index) => indices.push(index),
            None => bail!("--keep {id}: the set has no image with this id"),
        }
    }
    Ok(set.subset(&indices)?)
}
