//! How annotations are read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to do about annotations that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadMode {
    /// Refuse the file with the first error.
    #[default]
    Strict,
    /// Leave them out and count them; see [`DetectionDataset::problems`].
    ///
    /// [`DetectionDataset::problems`]: crate::DetectionDataset::problems
    Lenient,
}

/// What is checked about the image files when annotations are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileCheck {
    /// Nothing; a missing file is an error when it is loaded.
    None,
    /// That they are there.
    #[default]
    Exists,
    /// Also that their size is that of the annotations: reads the head of every file.
    Size,
    /// Also that they can be decoded: takes as long as an epoch without training.
    Decode,
}

/// How annotations are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// The folder of the images. Without one a COCO or LVIS set has no pixels, and files are not
    /// checked; VOC and YOLO sets have their own.
    pub images: Option<PathBuf>,
    /// What to do about annotations that cannot be used.
    pub mode: ReadMode,
    /// What is checked about the image files.
    pub files: FileCheck,
}

impl ReadOptions {
    /// Strict, with images in a folder, which are checked to be there.
    pub fn with_images(folder: impl Into<PathBuf>) -> Self {
        Self { images: Some(folder.into()), ..Self::default() }
    }

    /// The same, lenient.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.mode = ReadMode::Lenient;
        self
    }
}
