//! Ground truth from memory.

use std::collections::HashSet;

use hotcoco::{Annotation, Category, Dataset, Image};
use longtail_types::{BBox, ClassMap, Instance, is_image_size};

use super::{ground_truth::GroundTruth, mask_code::encode_mask, settings::Benchmark};
use crate::EvalError;

/// One image with all its objects, for ground truth from memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnnotatedImage {
    /// Its id in the data set.
    pub id: u64,
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// Its objects, in the pixels of this size.
    pub objects: Vec<AnnotatedObject>,
    /// LVIS: labels of classes that the image is known not to hold. COCO reads none.
    pub negative: Vec<usize>,
    /// LVIS: labels of classes of which the image may hold more than is annotated. COCO reads none.
    pub not_exhaustive: Vec<usize>,
}

/// One object of an [`AnnotatedImage`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedObject {
    /// Label, box and mask.
    pub instance: Instance,
    /// Whether it is a region with many objects. LVIS does not read it.
    pub is_crowd: bool,
    /// Area in square pixels, which decides small, medium and large. `None`: of the mask, else of
    /// the box.
    pub area: Option<f64>,
}

impl From<Instance> for AnnotatedObject {
    fn from(instance: Instance) -> Self {
        Self { instance, is_crowd: false, area: None }
    }
}

impl GroundTruth {
    /// An empty ground truth in memory, to which images are added.
    pub fn builder(classes: ClassMap, benchmark: Benchmark) -> GroundTruthBuilder {
        let seen = HashSet::new();
        GroundTruthBuilder { dataset: Dataset::default(), seen, classes, benchmark }
    }
}

/// Collects annotated images into a [`GroundTruth`].
#[derive(Debug, Clone)]
pub struct GroundTruthBuilder {
    dataset: Dataset,
    seen: HashSet<u64>,
    classes: ClassMap,
    benchmark: Benchmark,
}

impl GroundTruthBuilder {
    /// Adds one image. An image that is refused changes nothing.
    ///
    /// # Errors
    /// If the id came before, the size has no pixel or more than
    /// [`MAX_IMAGE_PIXELS`](longtail_types::MAX_IMAGE_PIXELS), a label is outside of the
    /// classes, a box is not finite or a mask reaches beyond the image.
    pub fn add_image(&mut self, image: &AnnotatedImage) -> Result<(), EvalError> {
        let bad = |message: String| EvalError::BadTruth { image_id: image.id, message };
        if self.seen.contains(&image.id) {
            return Err(bad("its id came before".into()));
        }
        let [height, width] = pixels(image.size).map_err(bad)?;
        let class_id = |label: usize| {
            let num_classes = self.classes.len();
            self.classes
                .id(label)
                .ok_or_else(|| bad(format!("label {label} is outside 0..{num_classes}")))
        };
        let class_ids = |labels: &[usize]| {
            labels.iter().map(|&label| class_id(label)).collect::<Result<Vec<u64>, _>>()
        };
        let record = Image {
            id: image.id,
            height,
            width,
            neg_category_ids: class_ids(&image.negative)?,
            not_exhaustive_category_ids: class_ids(&image.not_exhaustive)?,
            ..Default::default()
        };
        let first_id = self.dataset.annotations.len() as u64 + 1;
        let objects =
            image.objects.iter().zip(first_id..).enumerate().map(|(index, (object, id))| {
                let bad = |message: String| bad(format!("object {index}: {message}"));
                let Instance { label, bbox, mask } = &object.instance;
                let code = mask.as_ref().map(|mask| encode_mask(mask, [height, width]));
                let area = match mask {
                    Some(mask) => mask.area() as f64,
                    None => f64::from(bbox.width()) * f64::from(bbox.height()),
                };
                Ok(Annotation {
                    id,
                    image_id: image.id,
                    category_id: class_id(*label)?,
                    bbox: Some(coco_box(*bbox).map_err(bad)?),
                    segmentation: code.transpose().map_err(bad)?,
                    area: Some(object.area.unwrap_or(area)),
                    iscrowd: object.is_crowd,
                    ..Default::default()
                })
            });
        let objects: Vec<Annotation> = objects.collect::<Result<_, EvalError>>()?;
        self.seen.insert(image.id);
        self.dataset.images.push(record);
        self.dataset.annotations.extend(objects);
        Ok(())
    }

    /// The ground truth of all images added.
    ///
    /// # Errors
    /// Without classes or images, or if an id stands for two classes.
    pub fn build(mut self) -> Result<GroundTruth, EvalError> {
        if self.classes.is_empty() {
            return Err(EvalError::NoClasses);
        }
        if self.dataset.images.is_empty() {
            return Err(EvalError::NoExamples);
        }
        let classes = (0..self.classes.len()).filter_map(|label| {
            let (id, name) = (self.classes.id(label)?, self.classes.name(label)?);
            Some(Category { id, name: name.to_string(), ..Default::default() })
        });
        self.dataset.categories = classes.collect();
        Ok(GroundTruth::new(self.dataset, self.classes, self.benchmark, None))
    }
}

/// `[height, width]` as files count them; `Err` says what is wrong.
pub(crate) fn pixels(size: [usize; 2]) -> Result<[u32; 2], String> {
    let [height, width] = size;
    match is_image_size(size) {
        true => Ok([height as u32, width as u32]),
        false => Err(format!("an image of {width} x {height} pixels cannot be evaluated")),
    }
}

/// A box as `[x, y, width, height]`; `Err` says what is wrong.
pub(crate) fn coco_box(bbox: BBox) -> Result<[f64; 4], String> {
    let [x1, y1, x2, y2] = bbox.to_array().map(f64::from);
    if ![x1, y1, x2, y2].iter().all(|border| border.is_finite()) {
        return Err(format!("its box {:?} is not finite", bbox.to_array()));
    }
    if x2 < x1 || y2 < y1 {
        return Err(format!("its box {:?} is turned inside out", bbox.to_array()));
    }
    Ok([x1, y1, x2 - x1, y2 - y1])
}
