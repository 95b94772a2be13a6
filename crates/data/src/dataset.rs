//! Images with one label each.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longtail_types::{ClassCounts, ClassMap};

use crate::decode::decode_into;
use crate::{DataError, RgbImage};

/// Where the pixels of an image come from.
#[derive(Debug, Clone)]
enum Source {
    /// An encoded file, read when it is needed.
    File(PathBuf),
    /// A decoded image in memory.
    Memory(Arc<PixelStore>, usize),
}

/// Memory that is used again from image to image.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) file: Vec<u8>,
    pub(crate) pixels: Vec<u8>,
}

/// Decoded images of one size, one after another.
#[derive(Debug)]
pub(crate) struct PixelStore {
    /// What the images are called in errors, e.g. the file that they come from.
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// `[images, height, width, 3]`
    pub(crate) pixels: Vec<u8>,
}

/// A set of labelled images, in a fixed order.
///
/// Images are files, decoded when asked for, or pixels in memory. Labels are `0..num_classes`.
/// Cloning and [subsets](Self::subset) share the pixels.
#[derive(Debug, Clone)]
pub struct ImageDataset {
    sources: Vec<Source>,
    labels: Vec<usize>,
    class_map: Arc<ClassMap>,
}

impl ImageDataset {
    /// A set of image files with their labels. The files are not opened.
    ///
    /// # Errors
    /// If a label is not a class of `class_map`.
    pub fn from_files(
        files: impl IntoIterator<Item = (PathBuf, usize)>,
        class_map: ClassMap,
    ) -> Result<Self, DataError> {
        let items = files.into_iter().map(|(path, label)| (Source::File(path), label));
        Self::new(items, class_map)
    }

    pub(crate) fn from_store(
        store: PixelStore,
        labels: Vec<usize>,
        class_map: ClassMap,
    ) -> Result<Self, DataError> {
        let store = Arc::new(store);
        let items = labels.into_iter().enumerate();
        Self::new(items.map(|(i, label)| (Source::Memory(store.clone(), i), label)), class_map)
    }

    fn new(
        items: impl Iterator<Item = (Source, usize)>,
        class_map: ClassMap,
    ) -> Result<Self, DataError> {
        let (sources, labels): (Vec<_>, Vec<_>) = items.unzip();
        ClassCounts::from_labels(labels.iter().copied(), class_map.len())?;
        Ok(Self { sources, labels, class_map: Arc::new(class_map) })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Label of every image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The classes.
    pub fn class_map(&self) -> &ClassMap {
        &self.class_map
    }

    /// Number of classes, with or without images.
    pub fn num_classes(&self) -> usize {
        self.class_map.len()
    }

    /// Images per class.
    ///
    /// # Errors
    /// If there is no class.
    pub fn class_counts(&self) -> Result<ClassCounts, DataError> {
        Ok(ClassCounts::from_labels(self.labels.iter().copied(), self.num_classes())?)
    }

    /// The file of an image; `None` for images in memory and for an index outside the set.
    pub fn path(&self, index: usize) -> Option<&Path> {
        match self.sources.get(index)? {
            Source::File(path) => Some(path),
            Source::Memory(..) => None,
        }
    }

    /// What an image is called in messages: its path, or the store and the place in it.
    pub fn item_name(&self, index: usize) -> String {
        match self.sources.get(index) {
            Some(Source::File(path)) => path.display().to_string(),
            Some(Source::Memory(store, i)) => format!("{} image {i}", store.name),
            None => format!("image {index}"),
        }
    }

    /// Whether the image is already decoded in memory.
    pub(crate) fn is_in_memory(&self, index: usize) -> bool {
        matches!(self.sources.get(index), Some(Source::Memory(..)))
    }

    /// Reads and decodes an image.
    ///
    /// # Errors
    /// If the index is outside the set, or if the file cannot be read or decoded.
    pub fn load(&self, index: usize) -> Result<RgbImage, DataError> {
        self.load_into(index, &mut Scratch::default())
    }

    /// The same with memory for the file, and for the pixels, which the image takes away.
    pub(crate) fn load_into(
        &self,
        index: usize,
        scratch: &mut Scratch,
    ) -> Result<RgbImage, DataError> {
        let outside = || DataError::IndexOutOfRange { index, len: self.len() };
        let mut memory = std::mem::take(&mut scratch.pixels);
        match self.sources.get(index).ok_or_else(outside)? {
            Source::File(path) => {
                scratch.file.clear();
                let read = |mut file: File| file.read_to_end(&mut scratch.file);
                File::open(path).and_then(read).map_err(DataError::io(path))?;
                decode_into(&scratch.file, &path.to_string_lossy(), memory)
            }
            Source::Memory(store, i) => {
                let len = 3 * store.width * store.height;
                let pixels = store.pixels.get(i * len..(i + 1) * len).ok_or_else(outside)?;
                memory.clear();
                memory.extend_from_slice(pixels);
                RgbImage::new(store.width, store.height, memory).ok_or_else(outside)
            }
        }
    }

    /// The images at the given indices, in that order; an index may stand more than once. The
    /// classes stay as they are.
    ///
    /// # Errors
    /// If an index is outside the set.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        let len = self.len();
        if let Some(&index) = indices.iter().find(|&&index| index >= len) {
            return Err(DataError::IndexOutOfRange { index, len });
        }
        Ok(Self {
            sources: indices.iter().map(|&i| self.sources[i].clone()).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            class_map: self.class_map.clone(),
        })
    }

    /// Indices of the images of each class, in order.
    pub fn indices_by_class(&self) -> Vec<Vec<usize>> {
        let mut indices = vec![Vec::new(); self.num_classes()];
        self.labels.iter().enumerate().for_each(|(index, &label)| indices[label].push(index));
        indices
    }
}
