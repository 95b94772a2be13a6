//! The synthetic long-tailed detection set: always there, the same everywhere.

mod look;
mod paint;
pub(super) mod parallel;
mod plan;
mod polygons;
mod scene;
mod write;

#[cfg(test)]
mod tests;

use longtail_types::{ClassMap, Instance, KeyedRng, Stream};
use serde::{Deserialize, Serialize};

use super::{DetectionDataset, DetectionDatasetBuilder, NewAnnotation, Outline};
use crate::error::{check_positive, check_probability};
use crate::{DataError, RgbImage, Split};
use look::{Look, MAX_CLASSES};
use parallel::in_parallel;
use plan::{Plan, Planned, frequencies, negatives};
use scene::Object;

pub use write::{SyntheticContents, SyntheticSummary};

/// A long-tailed detection set of drawn objects with boxes and masks.
///
/// **Classes.** Eight shapes, each of its own colour, in six patterns: plain, striped, cored,
/// halved, rimmed, quartered. The classes of one shape are a family of look-alikes. By default
/// there are 48 classes: 9 frequent, 27 common and 12 rare ones by LVIS's bounds, and every family
/// and every pattern has members of all three groups. So whatever tells a rare class from others can be
/// learned from frequent classes, while its likeness to a frequent class of its family makes plain
/// sigmoid cross-entropy suppress it.
///
/// **Counts.** Class `k` (from 0, most frequent first) is in
/// `head_count ((1 + offset) / (1 + k + offset))^exponent` training images, rounded, at least 1:
/// the law of Zipf and Mandelbrot. [`Split::Test`] is the validation set: `test_instances` objects
/// of every class, so that a score per class is not noise alone.
///
/// **Images.** Soft patches, strokes and specks in the colours of the classes, which are no
/// objects, under noise. Objects hide others, but of every object at least `min_visible` of its
/// pixels in the image are seen. Masks and boxes are those of the pixels seen.
///
/// **Flags.** The frequency flags are those of the training counts. Sets are federated as LVIS is:
/// an image names classes that are absent, and, in training, classes of which one object more was
/// drawn than annotated.
///
/// **Scores.** LVIS counts the 300 best detections of an image, a quarter of its 1203 classes, and
/// its scores depend on that: with no such limit each class is ranked by itself, and a class whose
/// scores are all low loses nothing by it. To this set of 48 classes 12 detections correspond.
///
/// Shapes, colours, sizes and counts were chosen so that the effect of the methods shows within
/// minutes of training on a CPU: the set demonstrates them and is no evidence for them.
///
/// An image is a function of (settings, split, number), free of functions that differ between
/// machines in the last digit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticDetectionConfig {
    /// Width of the images in pixels. Default 96.
    pub width: usize,
    /// Height of the images in pixels. Default 96.
    pub height: usize,
    /// Classes, at most 1536. Default 48.
    pub num_classes: usize,
    /// Training images. Default 1200.
    pub train_images: usize,
    /// Training images that hold the most frequent class. Default 1000.
    pub head_count: usize,
    /// Exponent of the law of the counts. Default 2.
    pub exponent: u32,
    /// Offset of the law of the counts; 0 is Zipf's. Default 3.
    pub offset: usize,
    /// Validation objects of each class. Default 25.
    pub test_instances: usize,
    /// Objects in a validation image on average; they vary from 1 to twice this less one. Default 4.
    pub test_objects: usize,
    /// Most objects in an image. Default 8.
    pub max_objects: usize,
    /// Chance of another object of a class in its training image, again and again. Default 0.2.
    pub repeats: f64,
    /// Chance that one more object of a class is drawn in its training image and not annotated.
    /// Default 0.01.
    pub unannotated: f64,
    /// Smallest and largest nominal diameter of the objects in pixels. Default 18 to 40. Where
    /// there is little room they are drawn towards the smallest.
    pub object_size: [usize; 2],
    /// Share of an object's pixels that must be seen. Default 0.5.
    pub min_visible: f64,
    /// Most strokes and specks in an image. Default 8.
    pub distractors: usize,
    /// Standard deviation of the noise, as a share of the full range. Default 0.05.
    pub noise: f64,
    /// Absent classes that an image names; with as many as there are classes it names all. Default
    /// 2.
    ///
    /// As in LVIS, a false alarm counts in images that hold its class or name it as absent. There
    /// an image names about 1 in 100 of the classes, here 1 in 24.
    pub negatives: usize,
    /// Key of the set. Default 0.
    pub seed: u64,
}

impl Default for SyntheticDetectionConfig {
    fn default() -> Self {
        Self {
            width: 96,
            height: 96,
            num_classes: 48,
            train_images: 1200,
            head_count: 1000,
            exponent: 2,
            offset: 3,
            test_instances: 25,
            test_objects: 4,
            max_objects: 8,
            repeats: 0.2,
            unannotated: 0.01,
            object_size: [18, 40],
            min_visible: 0.5,
            distractors: 8,
            noise: 0.05,
            negatives: 2,
            seed: 0,
        }
    }
}

/// An image with everything that is known about it.
#[derive(Debug)]
struct Drawn {
    image: Option<RgbImage>,
    /// Annotated objects.
    instances: Vec<Instance>,
    negatives: Vec<usize>,
    not_exhaustive: Vec<usize>,
}

impl SyntheticDetectionConfig {
    /// A set of LVIS v1's size for load tests: 100,000 training images of 640 x 480, 1203 classes
    /// and about 1.27 million objects. Meant for
    /// [`SyntheticContents::AnnotationsOnly`].
    pub fn lvis_scale() -> Self {
        Self {
            width: 640,
            height: 480,
            num_classes: 1203,
            train_images: 100_000,
            head_count: 4000,
            exponent: 3,
            offset: 150,
            test_instances: 20,
            test_objects: 12,
            max_objects: 100,
            repeats: 0.762,
            object_size: [10, 70],
            negatives: 12,
            ..Self::default()
        }
    }

    /// Draws a split into memory.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn generate(&self, split: Split) -> Result<DetectionDataset, DataError> {
        self.validate()?;
        let plan = Plan::new(self, split)?;
        let mut builder = DetectionDatasetBuilder::new(self.class_map()?);
        let drawn = in_parallel(0..plan.images.len(), |number| {
            self.draw(split, number, &plan.images[number], true)
        });
        for (number, drawn) in drawn.into_iter().enumerate() {
            let Drawn { image, instances, negatives, not_exhaustive } = drawn;
            let image = image.unwrap_or_else(|| RgbImage::filled(self.width, self.height, [0; 3]));
            let index = builder.add_pixels(self.image_id(split, number), image)?;
            builder.federate(index, &negatives, &not_exhaustive)?;
            for Instance { label, bbox, mask } in instances {
                let outline = mask.map_or(Outline::None, Outline::Mask);
                builder.annotate(
                    index,
                    NewAnnotation { label, bbox, outline, ..Default::default() },
                )?;
            }
        }
        builder.build()
    }

    /// The classes, most frequent first; their ids start at 1, as LVIS's do.
    ///
    /// # Errors
    /// None with settings that [`generate`](Self::generate) accepts.
    fn class_map(&self) -> Result<ClassMap, DataError> {
        let classes = frequencies(self).into_iter().enumerate();
        let class = |(label, flag)| (label as u64 + 1, Look::of(label).name(), Some(flag));
        Ok(ClassMap::from_ids(classes.map(class))?)
    }

    /// Ids count from 1 over both splits, so that they never meet.
    fn image_id(&self, split: Split, number: usize) -> u64 {
        let before = match split {
            Split::Train => 0,
            Split::Test => self.train_images,
        };
        (before + number) as u64 + 1
    }

    fn draw(&self, split: Split, number: usize, planned: &[Planned], with_image: bool) -> Drawn {
        let rng = |key: u64| {
            let key = (key << 32) + split as u64;
            KeyedRng::new(self.seed, Stream::Synthetic, key, number as u64)
        };
        let objects = scene::place(self, planned, &mut rng(5));
        let image = with_image.then(|| paint::paint(self, &objects, &mut rng(6)));
        let hidden = objects.iter().filter(|object| !object.is_annotated);
        let mut not_exhaustive: Vec<usize> = hidden.map(|object| object.instance.label).collect();
        not_exhaustive.sort_unstable();
        not_exhaustive.dedup();
        let annotated = objects.into_iter().filter(|object| object.is_annotated);
        let instances = annotated.map(|object: Object| object.instance).collect();
        let negatives = negatives(self, split, number, planned);
        Drawn { image, instances, negatives, not_exhaustive }
    }

    fn validate(&self) -> Result<(), DataError> {
        for (name, side) in
            [("synthetic_detection.width", self.width), ("synthetic_detection.height", self.height)]
        {
            if !(16..=4096).contains(&side) {
                return Err(DataError::setting(name, "in 16..=4096", side));
            }
        }
        if !(1..=MAX_CLASSES).contains(&self.num_classes) {
            let name = "synthetic_detection.num_classes";
            return Err(DataError::setting(name, "in 1..=1536", self.num_classes));
        }
        for (name, value) in [
            ("synthetic_detection.train_images", self.train_images),
            ("synthetic_detection.head_count", self.head_count),
            ("synthetic_detection.test_instances", self.test_instances),
            ("synthetic_detection.test_objects", self.test_objects),
            ("synthetic_detection.max_objects", self.max_objects),
        ] {
            check_positive(name, value)?;
        }
        if self.head_count > self.train_images {
            let expected = "at most train_images";
            let name = "synthetic_detection.head_count";
            return Err(DataError::setting(name, expected, self.head_count));
        }
        if self.exponent > 16 {
            let name = "synthetic_detection.exponent";
            return Err(DataError::setting(name, "at most 16", self.exponent));
        }
        if self.repeats >= 1.0 {
            let name = "synthetic_detection.repeats";
            return Err(DataError::setting(name, "below 1", self.repeats));
        }
        check_probability("synthetic_detection.repeats", self.repeats)?;
        check_probability("synthetic_detection.unannotated", self.unannotated)?;
        check_probability("synthetic_detection.min_visible", self.min_visible)?;
        check_probability("synthetic_detection.noise", self.noise)?;
        let [smallest, largest] = self.object_size;
        if smallest < 6 || smallest > largest || largest > self.width.min(self.height) {
            let expected = "[smallest, largest] with smallest of at least 6 and \
                            largest of at most the shorter side of the image";
            let (name, value) = ("synthetic_detection.object_size", self.object_size);
            return Err(DataError::setting(name, expected, format!("{value:?}")));
        }
        Ok(())
    }
}
