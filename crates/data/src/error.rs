//! What can go wrong between a file and a batch.

use std::path::{Path, PathBuf};

use longtail_types::CountsError;
use thiserror::Error;

/// An error of this crate; the message names the file, the line or the setting, and the value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// A data set folder that does not exist.
    #[error("{}: no such folder", path.display())]
    MissingFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file where a folder is expected.
    #[error("{}: not a folder", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// A folder that a set cannot be written into.
    #[error("{}: {message}", path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// A data set folder without class folders.
    #[error("{}: no class folders in it; expected {}/CLASS/IMAGE.jpg", path.display(), path.display())]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
    },
    /// A class folder without images.
    #[error("{}: empty class folder (class {name:?} has no image)", path.display())]
    EmptyClassFolder {
        /// The folder.
        path: PathBuf,
        /// Name of the class.
        name: String,
    },
    /// A class folder that the given class table does not know.
    #[error("{}: class {name:?} is not one of the {num_classes} known classes", path.display())]
    UnknownClassFolder {
        /// The folder.
        path: PathBuf,
        /// Name of the class.
        name: String,
        /// Number of known classes.
        num_classes: usize,
    },
    /// A file that is neither JPEG nor PNG.
    #[error("{item}: not an image: expected JPEG or PNG, {found}")]
    NotAnImage {
        /// The file.
        item: String,
        /// What it is instead.
        found: String,
    },
    /// An image file that ends too early.
    #[error("{item}: truncated JPEG: the data ends after {bytes} bytes without an end marker")]
    TruncatedJpeg {
        /// The file.
        item: String,
        /// Its length.
        bytes: usize,
    },
    /// An image file whose contents cannot be decoded.
    #[error("{item}: cannot decode: {message}")]
    Decode {
        /// The file.
        item: String,
        /// The decoder's reason.
        message: String,
    },
    /// A line of a list file that is not `path label`.
    #[error("{}, line {line}: expected `path label`, got {text:?}", path.display())]
    ListLine {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A label of a list file outside its range.
    #[error("{}, line {line}: label {label} is outside 0..{num_classes}", path.display())]
    ListLabel {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The label as written.
        label: String,
        /// Number of classes.
        num_classes: usize,
    },
    /// An image that a list file names and that is not there.
    #[error("{}, line {line}: no such image: {}", path.display(), image.display())]
    ListImage {
        /// The list file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The missing file.
        image: PathBuf,
    },
    /// A list file without a single image.
    #[error("{}: no images listed", path.display())]
    EmptyList {
        /// The list file.
        path: PathBuf,
    },
    /// A CIFAR binary file of the wrong length.
    #[error("{}: {bytes} bytes is not a whole number of {record}-byte records", path.display())]
    CifarSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// Bytes of one record.
        record: usize,
    },
    /// A label byte of a CIFAR binary file outside its range.
    #[error("{}, record {record}: label {label} is outside 0..{num_classes}", path.display())]
    CifarLabel {
        /// The file.
        path: PathBuf,
        /// Record number, from 0.
        record: usize,
        /// The label byte.
        label: u8,
        /// Number of classes.
        num_classes: usize,
    },
    /// A CIFAR names file with the wrong number of names.
    #[error("{}: {found} class names, expected {expected}", path.display())]
    CifarNames {
        /// The file.
        path: PathBuf,
        /// Names found.
        found: usize,
        /// Names expected.
        expected: usize,
    },
    /// A file of class names that cannot be those of a set.
    #[error("{}: {source}", path.display())]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: CountsError,
    },
    /// A class has fewer images than the long-tailed rule asks for.
    #[error("class {name:?} has {available} images, but the long-tailed rule asks for {wanted}")]
    NotEnoughImages {
        /// Name of the class.
        name: String,
        /// Images that the rule asks for.
        wanted: usize,
        /// Images that there are.
        available: usize,
    },
    /// A setting outside its range.
    #[error("{name} must be {expected}, got {value}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        value: String,
    },
    /// An image that is smaller than the crop.
    #[error("{item}: {width}x{height} pixels are too few for a crop of {crop_width}x{crop_height}")]
    TooSmall {
        /// The image.
        item: String,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// Width of the crop.
        crop_width: usize,
        /// Height of the crop.
        crop_height: usize,
    },
    /// Images of different sizes in one batch.
    #[error(
        "{item}: {width}x{height} pixels after the transforms, but the batch holds \
         {batch_width}x{batch_height}; add a resize or a crop"
    )]
    SizeMismatch {
        /// The image.
        item: String,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// Width of the images before it.
        batch_width: usize,
        /// Height of the images before it.
        batch_height: usize,
    },
    /// An index outside the data set.
    #[error("index {index} is outside a data set of {len} images")]
    IndexOutOfRange {
        /// The index.
        index: usize,
        /// Length of the data set.
        len: usize,
    },
    /// A data set without images where some are needed.
    #[error("the data set has no images")]
    EmptyDataset,
    /// A folder that is already there and would be overwritten.
    #[error("{}: already exists; it is not overwritten", path.display())]
    AlreadyExists {
        /// The folder.
        path: PathBuf,
    },
    /// A defect: a worker thread panicked. The batch is lost, the loader goes on.
    #[error("batch {batch}: a loader thread panicked: {message}")]
    WorkerPanicked {
        /// Batch number in the epoch.
        batch: usize,
        /// What the panic said.
        message: String,
    },
    /// A file of annotations that is not JSON, or ends too early.
    #[error("{}, line {line}, column {column}: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// The parser's reason.
        message: String,
    },
    /// A JSON file that is not a file of annotations.
    #[error("{}: not a file of COCO or LVIS annotations: {message}", path.display())]
    NotAnnotations {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A folder without annotations.
    #[error("{}: no annotations in it; expected {expected}", path.display())]
    NoAnnotationFiles {
        /// The folder.
        path: PathBuf,
        /// What such a folder holds.
        expected: &'static str,
    },
    /// A `data.yaml` of YOLO that cannot be understood.
    #[error("{}: {message}", path.display())]
    YoloSettings {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        message: String,
    },
    /// Annotations that a strict reader refuses.
    #[error("{}: {problem}{}", path.display(), and_more(*more))]
    Annotations {
        /// The file or folder.
        path: PathBuf,
        /// The first error, with its place.
        problem: String,
        /// How many errors there are besides.
        more: usize,
    },
    /// An image file of a set that was read without a folder of images.
    #[error("{image}: the set was read without a folder of images")]
    NoImageFolder {
        /// Name of the image.
        image: String,
    },
    /// An image file of another size than its annotations say.
    #[error(
        "{item}: the file has {}x{} pixels, its annotations say {}x{}{}",
        found[1], found[0], expected[1], expected[0], swapped(*found, *expected)
    )]
    ImageSize {
        /// The image.
        item: String,
        /// `[height, width]` of the file.
        found: [usize; 2],
        /// `[height, width]` in the annotations.
        expected: [usize; 2],
    },
    /// Class counts or names that contradict each other.
    #[error(transparent)]
    Counts(#[from] CountsError),
}

/// A hint for image files that were turned after the annotations were made, or before.
pub(crate) fn swapped([height, width]: [usize; 2], expected: [usize; 2]) -> &'static str {
    let is_swapped = height != width && expected == [width, height];
    if is_swapped { " (turned by an orientation tag?)" } else { "" }
}

/// How many errors there are besides the first.
fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more errors)") }
}

impl DataError {
    pub(crate) fn json(path: &Path, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let message = if error.is_eof() {
            format!("the file ends too early: {text}")
        } else {
            format!("not valid JSON: {text}")
        };
        Self::Json { path: path.to_path_buf(), line, column, message }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// Names the image in an error of a transform, which does not know it.
    pub(crate) fn with_item(mut self, name: impl FnOnce() -> String) -> Self {
        if let Self::TooSmall { item, .. } | Self::Decode { item, .. } = &mut self
            && item.is_empty()
        {
            *item = name();
        }
        self
    }

    pub(crate) fn setting(
        name: &'static str,
        expected: &'static str,
        value: impl ToString,
    ) -> Self {
        Self::Setting { name, expected, value: value.to_string() }
    }
}

/// Refuses a `value` that is not a probability.
pub(crate) fn check_probability(name: &'static str, value: f64) -> Result<(), DataError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(DataError::setting(name, "a probability in [0, 1]", value))
}

/// Refuses a `value` of 0.
pub(crate) fn check_positive(name: &'static str, value: usize) -> Result<(), DataError> {
    if value > 0 { Ok(()) } else { Err(DataError::setting(name, "at least 1", value)) }
}
