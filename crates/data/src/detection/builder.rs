//! Detection sets made in memory.

use std::collections::HashSet;
use std::path::PathBuf;

use hotcoco::mask::rle_to_string;
use longtail_types::{BBox, ClassMap, Mask, is_image_size};

use super::runs::runs_of;
use super::segments::{Segment, Segments};
use super::store::{Federated, Images, Lists, Store};
use super::{Annotation, DetectionDataset, Problems};
use crate::{DataError, RgbImage};

/// Outline of an object, beside its box.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Outline {
    /// None: a box alone.
    #[default]
    None,
    /// The union of polygons, each x, y, x, y, ... with at least 3 points.
    Polygons(Vec<Vec<f64>>),
    /// Pixels, in an image of the size of theirs.
    Mask(Mask),
}

/// An object to be added by [`DetectionDatasetBuilder::annotate`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewAnnotation {
    /// Class, `0..num_classes`.
    pub label: usize,
    /// Its box in pixels of the image.
    pub bbox: BBox,
    /// Its outline.
    pub outline: Outline,
    /// Area of its mask. Default: counted for pixels, that of the box otherwise.
    pub area: Option<f64>,
    /// A region of many objects: never a target.
    pub is_crowd: bool,
    /// An object that counts neither as found nor as missed: never a target.
    pub is_ignored: bool,
}

/// Makes a [`DetectionDataset`] image by image.
///
/// ```
/// use longtail_data::{DetectionDatasetBuilder, NewAnnotation, RgbImage};
/// use longtail_types::{BBox, ClassMap};
///
/// let mut builder = DetectionDatasetBuilder::new(ClassMap::from_names(["cat", "dog"])?);
/// let image = builder.add_pixels(7, RgbImage::filled(64, 48, [90; 3]))?;
/// let bbox = BBox::new(4.0, 8.0, 20.0, 30.0);
/// builder.annotate(image, NewAnnotation { label: 1, bbox, ..Default::default() })?;
/// let dataset = builder.build()?;
/// assert_eq!(dataset.image(0).size(), [48, 64]);
/// assert_eq!(dataset.instances(0)[0].bbox, bbox);
/// assert_eq!(dataset.class_counts()?.instance_counts(), [0, 1]);
/// # Ok::<(), longtail_data::DataError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct DetectionDatasetBuilder {
    class_map: ClassMap,
    images: Images,
    ids: HashSet<u64>,
    annotations: Vec<(u32, Annotation)>,
    segments: Segments,
    is_federated: bool,
    negative: Vec<(u32, u32)>,
    not_exhaustive: Vec<(u32, u32)>,
}

impl DetectionDatasetBuilder {
    /// A set without images so far.
    pub fn new(class_map: ClassMap) -> Self {
        Self { class_map, ..Self::default() }
    }

    /// The folder that file names start from.
    #[must_use]
    pub fn image_root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.images.root = Some(folder.into());
        self
    }

    /// Adds an image file of `[height, width]`, which is not opened; returns its index.
    ///
    /// # Errors
    /// If the id stands twice, or if the size is 0 or has more than [`MAX_IMAGE_PIXELS`](longtail_types::MAX_IMAGE_PIXELS) pixels.
    pub fn add_file(&mut self, id: u64, size: [usize; 2], name: &str) -> Result<usize, DataError> {
        let size = self.check_image(id, size)?;
        self.images.push_file(id, size, name);
        Ok(self.images.len() - 1)
    }

    /// Adds an image in memory; returns its index.
    ///
    /// # Errors
    /// As [`add_file`](Self::add_file).
    pub fn add_pixels(&mut self, id: u64, image: RgbImage) -> Result<usize, DataError> {
        let size = self.check_image(id, [image.height(), image.width()])?;
        self.images.push_pixels(id, size, image);
        Ok(self.images.len() - 1)
    }

    fn check_image(&mut self, id: u64, [height, width]: [usize; 2]) -> Result<[u32; 2], DataError> {
        let expected = "at least 1x1 and at most 178956970 pixels"; // MAX_IMAGE_PIXELS
        let size = image_size(height as u64, width as u64);
        let refused = || DataError::setting("image size", expected, format!("{width}x{height}"));
        let size = size.ok_or_else(refused)?;
        if !self.ids.insert(id) {
            return Err(DataError::setting("image id", "new", id));
        }
        Ok(size)
    }

    /// Adds an object to image `index`. Annotations get ids from 1 in the order of the calls.
    ///
    /// # Errors
    /// If there is no such image or class, if the box is no number or of negative size, if a
    /// polygon has fewer than 3 points, or if the mask reaches outside of the image.
    pub fn annotate(&mut self, index: usize, new: NewAnnotation) -> Result<(), DataError> {
        let len = self.images.len();
        let size =
            *self.images.sizes.get(index).ok_or(DataError::IndexOutOfRange { index, len })?;
        let label = self.check_label(new.label)?;
        let bbox = new.bbox;
        let is_finite = bbox.to_array().iter().all(|border| border.is_finite());
        if !(is_finite && bbox.width() >= 0.0 && bbox.height() >= 0.0) {
            let value = format!("{:?}", bbox.to_array());
            return Err(DataError::setting("box", "a box with x1 <= x2 and y1 <= y2", value));
        }
        let id = self.annotations.len() as u64 + 1;
        let pixels = match &new.outline {
            Outline::Mask(mask) => Some(mask.area() as f64),
            Outline::None | Outline::Polygons(_) => None,
        };
        let area = new.area.or(pixels).unwrap_or(f64::from(bbox.area()));
        let segment = self.add_outline(new.outline, size)?;
        let NewAnnotation { is_crowd, is_ignored, .. } = new;
        let annotation = Annotation { id, area, bbox, label, segment, is_crowd, is_ignored };
        self.annotations.push((index as u32, annotation));
        Ok(())
    }

    fn add_outline(&mut self, outline: Outline, size: [u32; 2]) -> Result<Segment, DataError> {
        match outline {
            Outline::None => Ok(Segment::None),
            Outline::Polygons(polygons) => {
                let start = self.segments.checkpoint();
                for polygon in polygons {
                    if !is_polygon(polygon.len()) {
                        self.segments.roll_back(start);
                        let value = format!("{polygon:?}");
                        return Err(DataError::setting("polygon", "3 points or more", value));
                    }
                    polygon.into_iter().for_each(|value| self.segments.push_coordinate(value));
                    self.segments.end_polygon();
                }
                Ok(self.segments.polygons_since(start))
            }
            Outline::Mask(mask) => {
                let [height, width] = size;
                let runs = runs_of(&mask, size).ok_or_else(|| {
                    let [right, bottom] = [mask.left() + mask.width(), mask.top() + mask.height()];
                    let value = format!("one up to ({right}, {bottom}) in {width}x{height}");
                    DataError::setting("mask", "a mask inside its image", value)
                })?;
                Ok(self.segments.push_runs(&rle_to_string(&runs), size))
            }
        }
    }

    /// Says which classes are known to be absent from image `index` and which are not annotated to
    /// the last, and makes the set [federated](DetectionDataset::is_federated).
    ///
    /// # Errors
    /// If there is no such image or class.
    pub fn federate(
        &mut self,
        index: usize,
        negative: &[usize],
        not_exhaustive: &[usize],
    ) -> Result<(), DataError> {
        let len = self.images.len();
        if index >= len {
            return Err(DataError::IndexOutOfRange { index, len });
        }
        self.is_federated = true;
        for &label in negative {
            self.negative.push((index as u32, self.check_label(label)?));
        }
        for &label in not_exhaustive {
            self.not_exhaustive.push((index as u32, self.check_label(label)?));
        }
        Ok(())
    }

    fn check_label(&self, label: usize) -> Result<u32, DataError> {
        if label < self.class_map.len() {
            return Ok(label as u32);
        }
        let value = format!("{label} of {} classes", self.class_map.len());
        Err(DataError::setting("label", "a class of the set", value))
    }

    /// The finished set.
    ///
    /// # Errors
    /// If there are more than `u32::MAX` polygons or masks.
    pub fn build(self) -> Result<DetectionDataset, DataError> {
        self.build_with(Problems::default())
    }

    pub(super) fn build_with(self, problems: Problems) -> Result<DetectionDataset, DataError> {
        let num_images = self.images.len();
        let mut segments = self.segments;
        segments.check_len()?;
        segments.shrink();
        let group = |labels| Lists::group(num_images, labels);
        let (negative, not_exhaustive) = (self.negative, self.not_exhaustive);
        let federated = self.is_federated.then(|| Federated {
            negative: group(negative),
            not_exhaustive: group(not_exhaustive),
        });
        Ok(DetectionDataset::new(Store {
            class_map: self.class_map,
            images: self.images,
            annotations: Lists::group(num_images, self.annotations),
            segments,
            federated,
            problems,
        }))
    }
}

/// `[height, width]` if an image can have this size; run lengths of it fit into `u32`.
pub(super) fn image_size(height: u64, width: u64) -> Option<[u32; 2]> {
    let size = [usize::try_from(height).ok()?, usize::try_from(width).ok()?];
    is_image_size(size).then_some([height as u32, width as u32])
}

/// Whether so many numbers can be a polygon.
pub(super) fn is_polygon(coordinates: usize) -> bool {
    coordinates >= 6 && coordinates.is_multiple_of(2)
}
