//! `longtail data convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use longtail::data::{AnnotationForm, FileCheck};

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
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Coco,
    Lvis,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let set = args.input.load(FileCheck::None)?;
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
