//! Annotations as parsed, before ids are looked up.

use std::path::PathBuf;

use super::segments::{Segment, Segments};
use super::{ProblemKind, Problems};
use longtail_types::FrequencyGroup;

/// What the places of problems look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Entries of the lists of one JSON file.
    Json,
    /// Objects of one XML file an image.
    Xml,
    /// Lines of one text file an image.
    Lines,
}

/// A category, in file order.
#[derive(Debug, Clone)]
pub(super) struct RawCategory {
    pub(super) place: usize,
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) frequency: Option<FrequencyGroup>,
}

/// An image, in file order.
#[derive(Debug, Clone)]
pub(super) struct RawImage {
    pub(super) place: usize,
    pub(super) id: u64,
    /// `[height, width]`
    pub(super) size: [u32; 2],
    /// Its file, from the folder of images.
    pub(super) name: String,
    /// Its file of annotations, if it has its own.
    pub(super) annotations: Option<String>,
    /// Whether it has a list of absent categories.
    pub(super) has_negative: bool,
    /// Whether it has a list of categories that are not annotated to the last.
    pub(super) has_not_exhaustive: bool,
}

/// An annotation, in file order.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawAnnotation {
    pub(super) id: u64,
    pub(super) image: u64,
    pub(super) category: u64,
    /// As in the file; the box's own without.
    pub(super) area: Option<f64>,
    pub(super) bbox: [f32; 4],
    pub(super) place: u32,
    pub(super) segment: Segment,
    pub(super) is_crowd: bool,
    pub(super) is_ignored: bool,
}

/// A parsed set.
#[derive(Debug)]
pub(super) struct RawSet {
    pub(super) form: Form,
    /// The annotation file or folder, for messages.
    pub(super) path: PathBuf,
    pub(super) categories: Vec<RawCategory>,
    pub(super) images: Vec<RawImage>,
    pub(super) annotations: Vec<RawAnnotation>,
    pub(super) segments: Segments,
    /// Category ids by place in `images`.
    pub(super) negative: Vec<(u32, u64)>,
    /// Category ids by place in `images`.
    pub(super) not_exhaustive: Vec<(u32, u64)>,
    pub(super) problems: Problems,
}

impl RawSet {
    pub(super) fn new(form: Form, path: PathBuf) -> Self {
        Self {
            form,
            path,
            categories: Vec::new(),
            images: Vec::new(),
            annotations: Vec::new(),
            segments: Segments::default(),
            negative: Vec::new(),
            not_exhaustive: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Notes a problem of an entry of a list of a JSON file.
    pub(super) fn push_entry_problem(
        &mut self,
        kind: ProblemKind,
        list: &str,
        place: usize,
        id: Option<u64>,
        message: String,
    ) {
        self.problems.push(kind, entry(list, place, id), message);
    }
}

/// An entry of a list of a JSON file, e.g. `annotations[17] (id 4711)`.
pub(super) fn entry(list: &str, place: usize, id: Option<u64>) -> String {
    match id {
        Some(id) => format!("{list}[{place}] (id {id})"),
        None => format!("{list}[{place}]"),
    }
}

impl Form {
    pub(super) fn image_place(self, image: &RawImage) -> String {
        match (self, &image.annotations) {
            (Self::Xml | Self::Lines, Some(file)) => file.clone(),
            _ => entry("images", image.place, Some(image.id)),
        }
    }

    pub(super) fn annotation_place(
        self,
        annotation: &RawAnnotation,
        image: Option<&RawImage>,
    ) -> String {
        let place = annotation.place;
        match (self, image.and_then(|image| image.annotations.as_ref())) {
            (Self::Xml, Some(file)) => format!("{file}, object {place}"),
            (Self::Lines, Some(file)) => format!("{file}, line {place}"),
            _ => entry("annotations", place as usize, Some(annotation.id)),
        }
    }
}
