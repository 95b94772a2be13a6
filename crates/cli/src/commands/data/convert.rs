//! `longtail data convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::ValueEnum;
use longtail::data::{AnnotationForm, DetectionDataset, FileCheck, FolderForm};

use super::input::Input;

/// Options of `data convert`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    input: Input,
    /// The JSON file to write; for VOC and YOLO the folder, images included.
    #[arg(long)]
    out: PathBuf,
    /// Its form. Default: LVIS where the set names absent classes, else COCO.
    #[arg(long)]
    form: Option<Form>,
    /// The split of a VOC or YOLO folder that the set becomes, such as `train` or `val`.
    #[arg(long = "as", value_name = "SPLIT")]
    written_split: Option<String>,
    /// Keeps the images with these ids alone, in this order.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    keep: Vec<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Coco,
    Lvis,
    Voc,
    Yolo,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut set = args.input.load(FileCheck::None)?;
    if !args.keep.is_empty() {
        set = keep(&set, &args.keep)?;
    }
    let placeless = match args.form {
        Some(Form::Coco) => write_json(&set, args, AnnotationForm::Coco)?,
        Some(Form::Lvis) => write_json(&set, args, AnnotationForm::Lvis)?,
        Some(Form::Voc) => write_folder(&set, args, FolderForm::Voc)?,
        Some(Form::Yolo) => write_folder(&set, args, FolderForm::Yolo)?,
        None if set.is_federated() => write_json(&set, args, AnnotationForm::Lvis)?,
        None => write_json(&set, args, AnnotationForm::Coco)?,
    };
    let left_out = set.problems().errors().count();
    println!(
        "{}: {} images, {} annotations, {} classes; {left_out} problems left out",
        args.out.display(),
        set.num_images(),
        set.num_annotations(),
        set.num_classes(),
    );
    if placeless > 0 {
        println!(
            "{placeless} crowds, ignored objects and boxes without area have no place in this form"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn write_json(set: &DetectionDataset, args: &Args, form: AnnotationForm) -> anyhow::Result<usize> {
    ensure!(
        args.written_split.is_none(),
        "--as names a split of VOC and YOLO; JSON files have none"
    );
    set.write_coco(&args.out, form)?;
    Ok(0)
}

/// Returns how many objects have no place in the form.
fn write_folder(set: &DetectionDataset, args: &Args, form: FolderForm) -> anyhow::Result<usize> {
    let Some(split) = &args.written_split else {
        bail!("this form has splits: give --as train or --as val")
    };
    Ok(set.write_folder(&args.out, split, form)?)
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
