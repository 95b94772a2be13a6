//! A detection set named on the command line.

use std::path::PathBuf;

use anyhow::bail;
use longtail::data::{DetectionDataset, FileCheck, ReadMode, ReadOptions};

/// One split of a detection set, in one of three forms.
#[derive(clap::Args)]
pub(super) struct Input {
    /// Annotations in the JSON of COCO or LVIS.
    #[arg(long, group = "detection_set")]
    annotations: Option<PathBuf>,
    /// Folder of their images. Without it, image files are not looked at.
    #[arg(long, requires = "annotations")]
    images: Option<PathBuf>,
    /// A folder in the form of Pascal VOC.
    #[arg(long, group = "detection_set")]
    voc: Option<PathBuf>,
    /// A set in the form of YOLO: its folder or its YAML file.
    #[arg(long, group = "detection_set")]
    yolo: Option<PathBuf>,
    /// A split of a VOC or YOLO set, for example `train` or `val`. Default: all images.
    #[arg(long, conflicts_with = "annotations")]
    split: Option<String>,
    /// Leaves out annotations that cannot be used, and counts them.
    #[arg(long)]
    lenient: bool,
}

impl Input {
    /// Whether a detection set is named.
    pub(super) fn is_given(&self) -> bool {
        self.annotations.is_some() || self.voc.is_some() || self.yolo.is_some()
    }

    /// The file or folder that is named.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.annotations.as_ref().or(self.voc.as_ref()).or(self.yolo.as_ref())
    }

    /// Form, place and split in words.
    pub(super) fn describe(&self) -> String {
        let form = match (&self.annotations, &self.voc) {
            (Some(_), _) => "annotations",
            (_, Some(_)) => "VOC folder",
            _ => "YOLO set",
        };
        let path = self.path().map_or_else(String::new, |path| path.display().to_string());
        let split = self.split.as_ref().map(|split| format!(", split {split}"));
        format!("{form} {path}{}", split.unwrap_or_default())
    }

    /// Reads the set.
    /// # Errors
    /// If none is named, or it is refused.
    pub(super) fn load(&self, files: FileCheck) -> anyhow::Result<DetectionDataset> {
        let mode = if self.lenient { ReadMode::Lenient } else { ReadMode::Strict };
        self.load_as(mode, files)
    }

    /// The same with another reader than asked for.
    pub(super) fn load_as(
        &self,
        mode: ReadMode,
        files: FileCheck,
    ) -> anyhow::Result<DetectionDataset> {
        let options = ReadOptions { images: self.images.clone(), mode, files };
        let split = self.split.as_deref();
        Ok(match (&self.annotations, &self.voc, &self.yolo) {
            (Some(annotations), ..) => DetectionDataset::read_coco(annotations, &options)?,
            (_, Some(voc), _) => DetectionDataset::read_voc(voc, split, None, &options)?,
            (.., Some(yolo)) => DetectionDataset::read_yolo(yolo, split, &options)?,
            _ => bail!("give --annotations, --voc or --yolo"),
        })
    }
}
