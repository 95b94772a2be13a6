//! The data set of a detection recipe.

use std::path::{Path, PathBuf};

use longtail_data::{
    DataError, DetectionDataset, FileCheck, ReadMode, ReadOptions, Split, SyntheticDetectionConfig,
};
use longtail_eval::{AnnotatedImage, AnnotatedObject, Benchmark, GroundTruth};
use longtail_types::{ClassMap, Instance};
use serde::{Deserialize, Serialize};

use crate::dataset::class_difference;
use crate::error::TrainingError;

/// Where images and annotations come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionDatasetConfig {
    /// Files or generator.
    pub source: DetectionSource,
    /// Leaves out annotations that cannot be used, and counts them, instead of refusing the set.
    /// Default: false.
    #[serde(default)]
    pub lenient: bool,
}

/// A kind of detection data set. Relative paths are relative to the current directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DetectionSource {
    /// Annotations in the JSON of COCO or LVIS.
    Coco {
        /// Training annotations.
        train: PathBuf,
        /// Folder of the training images.
        train_images: PathBuf,
        /// Validation annotations.
        val: PathBuf,
        /// Folder of the validation images.
        val_images: PathBuf,
    },
    /// A folder in the form of Pascal VOC: `JPEGImages`, `Annotations`, `ImageSets/Main`.
    Voc {
        /// The folder.
        root: PathBuf,
        /// Name of the training list in `ImageSets/Main`. Default: `train`.
        #[serde(default = "train_name")]
        train: String,
        /// Name of the validation list. Default: `val`.
        #[serde(default = "val_name")]
        val: String,
    },
    /// A set in the form of YOLO: `images`, `labels` and a YAML file.
    Yolo {
        /// The YAML file, or the folder that holds it.
        data: PathBuf,
        /// Key of the training images in the file, or a folder in `images`. Default: `train`.
        #[serde(default = "train_name")]
        train: String,
        /// The same of the validation images. Default: `val`.
        #[serde(default = "val_name")]
        val: String,
    },
    /// Drawn objects of many classes with masks, made on first use; long-tailed by itself.
    Synthetic(SyntheticDetectionConfig),
}

fn train_name() -> String {
    "train".into()
}

fn val_name() -> String {
    "val".into()
}

/// Training and validation images.
#[derive(Clone, Debug)]
pub struct DetectionDatasets {
    /// To learn from.
    pub train: DetectionDataset,
    /// To evaluate on, with the same classes.
    pub val: DetectionDataset,
}

impl DetectionDatasetConfig {
    /// Reads or draws both sets.
    /// # Errors
    /// If files are missing or damaged, annotations cannot be used, or the sets differ in their
    /// classes.
    pub fn load(&self) -> Result<DetectionDatasets, TrainingError> {
        let train = self.load_split(Split::Train, None)?;
        let val = self.load_val(train.class_map())?;
        Ok(DetectionDatasets { train, val })
    }

    /// The validation images alone, with the classes of a training set or of a trained model.
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_val(&self, classes: &ClassMap) -> Result<DetectionDataset, TrainingError> {
        let val = self.load_split(Split::Test, Some(classes))?;
        match class_difference(classes, val.class_map()) {
            None => Ok(val),
            Some(difference) => Err(TrainingError::ClassesDiffer { difference }),
        }
    }

    /// One split; `classes` are those of a set that does not list its own.
    fn load_split(
        &self,
        split: Split,
        classes: Option<&ClassMap>,
    ) -> Result<DetectionDataset, DataError> {
        let mut options = ReadOptions::default();
        if self.lenient {
            // An image of another size would only be found out, and stop the run, when it is loaded.
            (options.mode, options.files) = (ReadMode::Lenient, FileCheck::Size);
        }
        match (&self.source, split) {
            (DetectionSource::Coco { train: file, train_images: images, .. }, Split::Train)
            | (DetectionSource::Coco { val: file, val_images: images, .. }, Split::Test) => {
                let options = ReadOptions { images: Some(images.clone()), ..options };
                DetectionDataset::read_coco(file, &options)
            }
            (DetectionSource::Voc { root, train: list, .. }, Split::Train)
            | (DetectionSource::Voc { root, val: list, .. }, Split::Test) => {
                DetectionDataset::read_voc(root, Some(list), classes, &options)
            }
            (DetectionSource::Yolo { data, train: key, .. }, Split::Train)
            | (DetectionSource::Yolo { data, val: key, .. }, Split::Test) => {
                DetectionDataset::read_yolo(data, Some(key), &options)
            }
            (DetectionSource::Synthetic(config), split) => config.generate(split),
        }
    }

    /// What validation detections are held against. COCO and LVIS files are read by the evaluation
    /// itself, so that its numbers are those of the reference programs.
    pub(crate) fn ground_truth(
        &self,
        val: &DetectionDataset,
        benchmark: Benchmark,
        has_masks: bool,
    ) -> Result<GroundTruth, TrainingError> {
        match &self.source {
            DetectionSource::Coco { val: file, .. } if !self.lenient => {
                let truth = GroundTruth::read(file, benchmark)?;
                Ok(truth.with_classes(val.class_map().clone())?)
            }
            _ => ground_truth(val, benchmark, has_masks),
        }
    }

    /// The validation set in words, for reports.
    pub(crate) fn describe_val(&self) -> String {
        match &self.source {
            DetectionSource::Coco { val, .. } => file_name(val),
            DetectionSource::Voc { root, val, .. } => format!("{} of {}", val, root.display()),
            DetectionSource::Yolo { data, .. } => {
                format!("validation images of {}", file_name(data))
            }
            DetectionSource::Synthetic(_) => "synthetic validation set".into(),
        }
    }

    /// The training set in words, for reports.
    pub(crate) fn describe_train(&self) -> String {
        match &self.source {
            DetectionSource::Coco { train, .. } => file_name(train),
            DetectionSource::Voc { root, train, .. } => format!("{} of {}", train, root.display()),
            DetectionSource::Yolo { data, .. } => format!("training images of {}", file_name(data)),
            DetectionSource::Synthetic(_) => "synthetic training set".into(),
        }
    }
}

/// The annotations of a set as ground truth, with masks if those are evaluated. Objects that VOC calls
/// difficult count as crowds: whatever is found there is ignored.
/// # Errors
/// If the set has no images or classes, or an annotation cannot be evaluated.
pub fn ground_truth(
    set: &DetectionDataset,
    benchmark: Benchmark,
    has_masks: bool,
) -> Result<GroundTruth, TrainingError> {
    let mut builder = GroundTruth::builder(set.class_map().clone(), benchmark);
    for index in 0..set.num_images() {
        let info = set.image(index);
        let labels = |labels: &[u32]| labels.iter().map(|&label| label as usize).collect();
        let objects = set.annotations(index).iter().map(|annotation| {
            let mask = if has_masks { set.mask(index, annotation) } else { None };
            let (label, bbox) = (annotation.label as usize, annotation.bbox);
            AnnotatedObject {
                instance: Instance { label, bbox, mask },
                is_crowd: annotation.is_crowd || annotation.is_ignored,
                area: Some(annotation.area),
            }
        });
        builder.add_image(&AnnotatedImage {
            id: info.id,
            size: info.size(),
            objects: objects.collect(),
            negative: labels(set.negative_labels(index)),
            not_exhaustive: labels(set.not_exhaustive_labels(index)),
        })?;
    }
    Ok(builder.build()?)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
