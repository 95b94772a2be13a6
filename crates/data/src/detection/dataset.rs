//! Images with boxes and masks.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use longtail_types::{ClassCounts, ClassMap, Instance, Mask};

use super::store::{Source, Store};
use super::{Annotation, Problems};
use crate::dataset::Scratch;
use crate::decode::decode_into;
use crate::{DataError, RgbImage};

/// What the annotations say about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// The data set's own id.
    pub id: u64,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Its file; `None` for pixels in memory.
    pub file: Option<PathBuf>,
}

impl ImageInfo {
    /// `[height, width]`
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }
}

/// A set of images with annotated objects, in a fixed order.
///
/// Annotations lie in flat arrays: a set of the size of LVIS takes a few hundred megabytes, most
/// of it coordinates of polygons. Clones and [subsets](Self::subset) share them. Labels are
/// `0..num_classes`, in the order of the data set's category ids.
///
/// Methods that take an index panic outside `0..num_images`, as slices do, unless they return a
/// `Result`.
#[derive(Debug, Clone)]
pub struct DetectionDataset {
    store: Arc<Store>,
    /// Images of the store, in the order of this set.
    images: Vec<u32>,
}

impl DetectionDataset {
    pub(super) fn new(store: Store) -> Self {
        Self { images: (0..store.images.len() as u32).collect(), store: Arc::new(store) }
    }

    /// Number of images, with or without objects.
    pub fn num_images(&self) -> usize {
        self.images.len()
    }

    /// Number of annotations of all images, those that are never targets included.
    pub fn num_annotations(&self) -> usize {
        self.images.iter().map(|&image| self.store.annotations.of(image as usize).len()).sum()
    }

    /// Number of classes, with or without objects.
    pub fn num_classes(&self) -> usize {
        self.store.class_map.len()
    }

    /// The classes.
    pub fn class_map(&self) -> &ClassMap {
        &self.store.class_map
    }

    /// What the annotations say about an image.
    pub fn image(&self, index: usize) -> ImageInfo {
        let (images, at) = (&self.store.images, self.at(index));
        let [height, width] = images.size(at);
        ImageInfo { id: images.ids[at], height, width, file: images.path(at) }
    }

    /// `[height, width]` of an image.
    pub fn image_size(&self, index: usize) -> [usize; 2] {
        self.store.images.size(self.at(index))
    }

    /// Name of the file of an image as in the annotations, without the folder of images; `None`
    /// for pixels in memory.
    pub fn file_name(&self, index: usize) -> Option<&str> {
        self.store.images.name(self.at(index))
    }

    /// What an image is called in messages: its file, or its id.
    pub fn item_name(&self, index: usize) -> String {
        let at = self.at(index);
        let path = self.store.images.path(at).map(|path| path.display().to_string());
        path.unwrap_or_else(|| format!("image id {}", self.store.images.ids[at]))
    }

    /// All annotations of an image, those that are never targets included.
    pub fn annotations(&self, index: usize) -> &[Annotation] {
        self.store.annotations.of(self.at(index))
    }

    /// The annotations of an image that are [targets](Annotation::is_target).
    pub fn targets(&self, index: usize) -> impl Iterator<Item = &Annotation> {
        let size = self.image_size(index);
        self.annotations(index).iter().filter(move |annotation| annotation.is_target(size))
    }

    /// The objects of an image to train on, in its own pixels: boxes clipped to the image, masks
    /// from polygons or run lengths, cropped to what is set. Crowds, ignored objects and boxes
    /// without area inside the image are left out.
    ///
    /// Pixels are those of pycocotools.
    pub fn instances(&self, index: usize) -> Vec<Instance> {
        let mask = |annotation: &Annotation| self.mask(index, annotation);
        self.targets(index).map(|target| self.instance(index, target, mask(target))).collect()
    }

    /// The same without masks, which cost the most time.
    pub fn box_instances(&self, index: usize) -> Vec<Instance> {
        self.targets(index).map(|target| self.instance(index, target, None)).collect()
    }

    fn instance(&self, index: usize, target: &Annotation, mask: Option<Mask>) -> Instance {
        let bbox = target.bbox.clip(self.image_size(index));
        Instance { label: target.label as usize, bbox, mask }
    }

    /// Pixels of an annotation of image `index`; `None` if it has only a box.
    pub fn mask(&self, index: usize, annotation: &Annotation) -> Option<Mask> {
        let size = self.store.images.sizes[self.at(index)];
        self.store.segments.mask(annotation.segment, size)
    }

    /// Polygons of an annotation, each as x, y, x, y, ... as in the file; none for a run-length
    /// mask or a bare box.
    pub fn polygons(&self, annotation: &Annotation) -> Vec<Vec<f64>> {
        self.store.segments.polygons(annotation.segment).collect()
    }

    /// Run-length mask of an annotation in COCO's compressed text form, with `[height, width]`.
    pub fn run_lengths(&self, annotation: &Annotation) -> Option<(&str, [usize; 2])> {
        let (text, size) = self.store.segments.runs(annotation.segment)?;
        Some((text, size.map(|side| side as usize)))
    }

    /// Whether any annotation has a mask.
    pub fn has_masks(&self) -> bool {
        let images = self.images.iter().map(|&image| self.store.annotations.of(image as usize));
        images.flatten().any(Annotation::has_mask)
    }

    /// Whether the set is federated, as LVIS is: only some classes are checked in each image.
    pub fn is_federated(&self) -> bool {
        self.store.federated.is_some()
    }

    /// Classes that a federated set knows to be absent from an image; empty for other sets, in
    /// which every class without an object is absent.
    pub fn negative_labels(&self, index: usize) -> &[u32] {
        let at = self.at(index);
        self.store.federated.as_ref().map_or(&[], |federated| federated.negative.of(at))
    }

    /// Classes whose objects a federated set does not annotate to the last in an image.
    pub fn not_exhaustive_labels(&self, index: usize) -> &[u32] {
        let at = self.at(index);
        self.store.federated.as_ref().map_or(&[], |federated| federated.not_exhaustive.of(at))
    }

    /// Images and objects per class, over [targets](Annotation::is_target); an image without
    /// targets does not count as annotated.
    ///
    /// # Errors
    /// If there is no class.
    pub fn class_counts(&self) -> Result<ClassCounts, DataError> {
        let labels =
            |image| self.targets(image).map(|target| target.label as usize).collect::<Vec<_>>();
        Ok(ClassCounts::from_objects((0..self.num_images()).map(labels), self.num_classes())?)
    }

    /// Indices of the images with at least one [target](Annotation::is_target).
    pub fn annotated_images(&self) -> Vec<usize> {
        (0..self.num_images()).filter(|&index| self.targets(index).next().is_some()).collect()
    }

    /// What was wrong with the annotations when they were read: notes, and what a lenient reader
    /// left out. That of the whole set in a subset.
    pub fn problems(&self) -> &Problems {
        &self.store.problems
    }

    /// Reads and decodes an image.
    ///
    /// # Errors
    /// If the index is outside the set, if the set was read without a folder of images, if the
    /// file cannot be read or decoded, or if its size is not that of the annotations.
    pub fn load(&self, index: usize) -> Result<RgbImage, DataError> {
        self.load_into(index, &mut Scratch::default())
    }

    /// The same with memory for the file, and for the pixels, which the image takes away.
    pub(crate) fn load_into(
        &self,
        index: usize,
        scratch: &mut Scratch,
    ) -> Result<RgbImage, DataError> {
        let outside = || DataError::IndexOutOfRange { index, len: self.num_images() };
        let at = *self.images.get(index).ok_or_else(outside)? as usize;
        let images = &self.store.images;
        let mut memory = std::mem::take(&mut scratch.pixels);
        let image = match &images.sources[at] {
            Source::File { .. } => {
                let path = images.path(at).unwrap_or_default();
                if images.root.is_none() {
                    return Err(DataError::NoImageFolder { image: self.item_name(index) });
                }
                scratch.file.clear();
                let read = |mut file: File| file.read_to_end(&mut scratch.file);
                File::open(&path).and_then(read).map_err(DataError::io(&path))?;
                decode_into(&scratch.file, &path.to_string_lossy(), memory)?
            }
            Source::Memory(image) => {
                memory.clear();
                memory.extend_from_slice(image.pixels());
                RgbImage::new(image.width(), image.height(), memory).ok_or_else(outside)?
            }
        };
        let (found, expected) = ([image.height(), image.width()], images.size(at));
        if found != expected {
            let item = self.item_name(index);
            return Err(DataError::ImageSize { item, found, expected });
        }
        Ok(image)
    }

    /// The images at the given indices, in that order; an index may stand more than once. The
    /// classes stay as they are.
    ///
    /// # Errors
    /// If an index is outside the set.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        let len = self.num_images();
        let image = |&index: &usize| {
            let outside = DataError::IndexOutOfRange { index, len };
            self.images.get(index).copied().ok_or(outside)
        };
        let images = indices.iter().map(image).collect::<Result<_, _>>()?;
        Ok(Self { store: self.store.clone(), images })
    }

    /// Place of an image in the store.
    fn at(&self, index: usize) -> usize {
        self.images[index] as usize
    }
}
