//! The tables behind a detection set.

use std::path::PathBuf;
use std::sync::Arc;

use longtail_types::{BBox, ClassMap};

use super::Problems;
use super::segments::{Segment, Segments};
use crate::RgbImage;

/// One annotated object, as in the file but for its box and label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annotation {
    /// The data set's own id.
    pub id: u64,
    /// Area of the mask in pixels, as the file gives it; of the box if it gives none.
    pub area: f64,
    /// The box in pixels of the image, as in the file: it may reach outside, or have no area.
    pub bbox: BBox,
    /// Class, `0..num_classes`.
    pub label: u32,
    pub(super) segment: Segment,
    /// A region of many objects (COCO's `iscrowd`): never a target.
    pub is_crowd: bool,
    /// An object that counts neither as found nor as missed (VOC's `difficult`, a file's
    /// `ignore`): never a target.
    pub is_ignored: bool,
}

impl Annotation {
    /// Whether there is a polygon or a mask.
    pub fn has_mask(&self) -> bool {
        self.segment != Segment::None
    }

    /// Whether the object is trained on, in an image of `[height, width]`: it is neither a crowd
    /// nor ignored, and its box has an area inside the image.
    pub fn is_target(&self, size: [usize; 2]) -> bool {
        !self.is_crowd && !self.is_ignored && !self.bbox.clip(size).is_empty()
    }
}

/// Where the pixels of an image come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A file, by the end of its name in the table of names.
    File { end: usize },
    /// Pixels in memory.
    Memory(Arc<RgbImage>),
}

/// The images of a set.
#[derive(Debug, Clone, Default)]
pub(super) struct Images {
    pub(super) ids: Vec<u64>,
    /// `[height, width]`
    pub(super) sizes: Vec<[u32; 2]>,
    pub(super) sources: Vec<Source>,
    /// All file names, one after another, and where each starts.
    names: String,
    starts: Vec<usize>,
    /// The folder that file names start from; `None` if images are not to be loaded.
    pub(super) root: Option<PathBuf>,
}

impl Images {
    pub(super) fn in_folder(root: Option<PathBuf>) -> Self {
        Self { root, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn push_file(&mut self, id: u64, size: [u32; 2], name: &str) {
        self.starts.push(self.names.len());
        self.names.push_str(name);
        self.push(id, size, Source::File { end: self.names.len() });
    }

    pub(super) fn push_pixels(&mut self, id: u64, size: [u32; 2], image: RgbImage) {
        self.starts.push(self.names.len());
        self.push(id, size, Source::Memory(Arc::new(image)));
    }

    fn push(&mut self, id: u64, size: [u32; 2], source: Source) {
        self.ids.push(id);
        self.sizes.push(size);
        self.sources.push(source);
    }

    /// Name of the file of an image, as in the annotations.
    pub(super) fn name(&self, image: usize) -> Option<&str> {
        match self.sources[image] {
            Source::File { end } => self.names.get(self.starts[image]..end),
            Source::Memory(_) => None,
        }
    }

    /// Path of the file of an image; the bare name without a folder.
    pub(super) fn path(&self, image: usize) -> Option<PathBuf> {
        let name = self.name(image)?;
        Some(self.root.as_ref().map_or_else(|| PathBuf::from(name), |root| root.join(name)))
    }

    pub(super) fn size(&self, image: usize) -> [usize; 2] {
        self.sizes[image].map(|side| side as usize)
    }
}

/// Lists of items by image: those of image `i` are `items[starts[i]..starts[i + 1]]`.
#[derive(Debug, Clone)]
pub(super) struct Lists<T> {
    starts: Vec<usize>,
    items: Vec<T>,
}

impl<T> Lists<T> {
    /// Groups items by image; those of one image keep their order.
    pub(super) fn group(num_images: usize, mut items: Vec<(u32, T)>) -> Self {
        if !items.is_sorted_by_key(|(image, _)| *image) {
            items.sort_by_key(|(image, _)| *image);
        }
        let mut starts = vec![0; num_images + 1];
        items.iter().for_each(|(image, _)| starts[*image as usize + 1] += 1);
        (0..num_images).for_each(|image| starts[image + 1] += starts[image]);
        Self { starts, items: items.into_iter().map(|(_, item)| item).collect() }
    }

    pub(super) fn of(&self, image: usize) -> &[T] {
        &self.items[self.starts[image]..self.starts[image + 1]]
    }
}

/// What an image of a federated set says about classes without a box in it.
#[derive(Debug, Clone)]
pub(super) struct Federated {
    /// Classes known to be absent.
    pub(super) negative: Lists<u32>,
    /// Classes whose objects are not all annotated.
    pub(super) not_exhaustive: Lists<u32>,
}

/// Everything that a set and its subsets share.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) class_map: ClassMap,
    pub(super) images: Images,
    pub(super) annotations: Lists<Annotation>,
    pub(super) segments: Segments,
    pub(super) federated: Option<Federated>,
    pub(super) problems: Problems,
}
