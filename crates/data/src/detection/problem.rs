//! What can be wrong with annotations, one place at a time.

use std::collections::BTreeMap;
use std::fmt;

/// Kind of a [`Problem`].
///
/// Each kind is an error to a strict reader, or a note, which both readers accept. The lenient
/// reader leaves out what an error is about and counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A file of annotations of one image (VOC, YOLO) that is not there, or is not in its format.
    /// The image is left out.
    AnnotationFile,
    /// An image without id, size or file name, or with one of the wrong type. The image is left
    /// out.
    ImageField,
    /// An image id that stands twice. The first stays.
    DuplicateImage,
    /// An image whose file is not there. The image is left out.
    MissingFile,
    /// An image file that cannot be read or decoded. The image is left out.
    UnreadableFile,
    /// An image file of another size than its annotations say. The image is left out.
    ImageSize,
    /// A category without id or name, or with one of the wrong type. It is left out.
    CategoryField,
    /// A category id that stands twice. The first stays.
    DuplicateCategory,
    /// A category name that stands twice. The second gets its id behind its name.
    DuplicateCategoryName,
    /// A set without categories.
    NoCategories,
    /// An annotation without id, image, category or box, or with one of the wrong type. It is left
    /// out.
    AnnotationField,
    /// An annotation id that stands twice. The first stays.
    DuplicateAnnotation,
    /// An annotation of an image that is not there. It is left out.
    UnknownImage,
    /// An annotation of an image that was left out. It goes with its image.
    LeftOutImage,
    /// An annotation of a category that is not there, or an entry of an LVIS list. It is left out.
    UnknownCategory,
    /// A box of negative size. The annotation is left out.
    NegativeBox,
    /// A box that lies outside of its image. The annotation is left out.
    BoxOutside,
    /// A polygon of fewer than 3 points or of an odd number of coordinates. It is left out, and the
    /// annotation too if it has no other.
    Polygon,
    /// A run-length mask of another size than its image, or that cannot be decoded. The annotation
    /// is left out.
    RunLengths,
    /// An LVIS field that other images or categories of the file have. It is taken as empty.
    LvisField,
    /// Note: a box without width or height. The annotation stays but is never a target.
    EmptyBox,
    /// Note: a box that reaches more than a pixel over the border of its image. Targets are
    /// clipped.
    BoxOverBorder,
    /// Note: an image without annotations.
    NoAnnotations,
}

impl ProblemKind {
    /// Whether a strict reader refuses it.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::EmptyBox | Self::BoxOverBorder | Self::NoAnnotations)
    }

    /// A few words for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnnotationFile => "annotation files missing or broken",
            Self::ImageField => "image fields missing or of the wrong type",
            Self::DuplicateImage => "image ids twice",
            Self::MissingFile => "image files missing",
            Self::UnreadableFile => "image files unreadable",
            Self::ImageSize => "image files of another size",
            Self::CategoryField => "category fields missing or of the wrong type",
            Self::DuplicateCategory => "category ids twice",
            Self::DuplicateCategoryName => "category names twice",
            Self::NoCategories => "no categories",
            Self::AnnotationField => "annotation fields missing or of the wrong type",
            Self::DuplicateAnnotation => "annotation ids twice",
            Self::UnknownImage => "annotations of unknown images",
            Self::LeftOutImage => "annotations of images left out",
            Self::UnknownCategory => "annotations of unknown categories",
            Self::NegativeBox => "boxes of negative size",
            Self::BoxOutside => "boxes outside of their image",
            Self::Polygon => "polygons of fewer than 3 points",
            Self::RunLengths => "run-length masks of the wrong size",
            Self::LvisField => "LVIS fields missing",
            Self::EmptyBox => "boxes without width or height",
            Self::BoxOverBorder => "boxes over the border",
            Self::NoAnnotations => "images without annotations",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// Where, e.g. `annotations[17] (id 4711)`.
    pub place: String,
    /// What exactly, with the value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All problems of a data set, in the order in which they were found.
///
/// `Display` prints the counts by kind, errors first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn push(&mut self, kind: ProblemKind, place: impl Into<String>, message: String) {
        self.list.push(Problem { kind, place: place.into(), message });
    }

    /// The full list.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Whether there is none, not even a note.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: ProblemKind) -> usize {
        self.list.iter().filter(|problem| problem.kind == kind).count()
    }

    /// How many there are of each kind that occurs.
    pub fn counts(&self) -> BTreeMap<ProblemKind, usize> {
        let mut counts = BTreeMap::new();
        self.list.iter().for_each(|problem| *counts.entry(problem.kind).or_default() += 1);
        counts
    }

    /// Those that a strict reader refuses.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter().filter(|problem| problem.kind.is_error())
    }

    pub(super) fn first_error(&self) -> Option<&Problem> {
        self.errors().next()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "no problems");
        }
        let lines = self.counts().into_iter().map(|(kind, count)| {
            format!("{} {count:>8}  {kind}", if kind.is_error() { "error" } else { "note " })
        });
        write!(f, "{}", lines.collect::<Vec<_>>().join("\n"))
    }
}
