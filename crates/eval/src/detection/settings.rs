//! What to measure, and against which training set.

use std::fmt;

use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

/// Whose rules decide what counts.
///
/// Both average precision over 10 overlaps (0.50 to 0.95) and 101 recalls, class by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Benchmark {
    /// COCO as pycocotools computes it: every image is annotated for every class; the 100 best
    /// detections of each image and class count; what lies in a crowd region is ignored.
    Coco,
    /// LVIS as lvis-api computes it: the 300 best detections of each image count; a class counts
    /// only on images that hold it or are marked as free of it, and unmatched detections are ignored
    /// where a class was not annotated exhaustively. The crowd flag means nothing, the field
    /// `ignore` does, and objects without area are left out.
    Lvis,
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Coco => "COCO",
            Self::Lvis => "LVIS",
        })
    }
}

/// What is laid over each other to decide whether a detection has found an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Boxes.
    Boxes,
    /// Masks.
    Masks,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Boxes => "boxes",
            Self::Masks => "masks",
        })
    }
}

/// How often each class occurs in the training set, and which set that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingCounts {
    /// The counts, in label order.
    pub counts: ClassCounts,
    /// The training set, in words: "LVIS v1 train".
    pub source: String,
}

/// What to measure, and how to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionSettings {
    /// What is evaluated, usually the method. Reports of one name are runs of one method.
    pub name: String,
    /// The seed of the run: reports of two methods with one seed are a pair. Default: none.
    pub seed: Option<u64>,
    /// Boxes or masks.
    pub overlap: Overlap,
    /// Which images are evaluated, in words: "LVIS v1 val". Default: "not stated".
    pub test_set: String,
    /// Decides the groups of classes where the annotations have no frequency flags, and gives the
    /// training images of each class in tables and plots. Default: none.
    pub training: Option<TrainingCounts>,
    /// Confusion and kinds of errors are taken over the first so many images; their detections are
    /// kept until the end, about 200 bytes each. 0 leaves both out. Default: 5,000 (COCO val).
    pub max_analysed_images: usize,
}

impl DetectionSettings {
    /// Defaults, for boxes or masks.
    pub fn new(name: impl Into<String>, overlap: Overlap) -> Self {
        Self {
            name: name.into(),
            seed: None,
            overlap,
            test_set: "not stated".into(),
            training: None,
            max_analysed_images: 5000,
        }
    }
}
