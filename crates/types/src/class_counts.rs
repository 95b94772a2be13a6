//! How often each class occurs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CountsError, ShotGroup, ShotThresholds};

/// Image and instance counts of the classes of a training set.
///
/// An *image count* is the number of training images that contain a class, an *instance count* the
/// number of its objects. In classification the two are equal. A class with no example is legal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Tables", into = "Tables")]
pub struct ClassCounts {
    image_counts: Vec<u64>,
    instance_counts: Vec<u64>,
    num_images: u64,
}

impl ClassCounts {
    /// Counts known from elsewhere, one entry per class; `num_images` is the number of annotated
    /// training images (LVIS and EQL divide by it).
    ///
    /// # Errors
    /// Without classes, if the tables disagree in length, or if a class is in more images than
    /// there are or has fewer instances than images.
    pub fn new(
        image_counts: Vec<u64>,
        instance_counts: Vec<u64>,
        num_images: u64,
    ) -> Result<Self, CountsError> {
        if image_counts.is_empty() {
            return Err(CountsError::NoClasses);
        }
        let (images, instances) = (image_counts.len(), instance_counts.len());
        if images != instances {
            return Err(CountsError::LengthMismatch { images, instances });
        }
        for (class, (&images, &instances)) in image_counts.iter().zip(&instance_counts).enumerate()
        {
            if images > num_images {
                return Err(CountsError::MoreImagesThanTotal { class, images, num_images });
            }
            if instances < images {
                return Err(CountsError::FewerInstancesThanImages { class, instances, images });
            }
        }
        Ok(Self { image_counts, instance_counts, num_images })
    }

    /// Counts of a classification set: one label in `0..num_classes` per image.
    ///
    /// # Errors
    /// Without classes, or if a label is outside `0..num_classes`.
    pub fn from_labels(
        labels: impl IntoIterator<Item = usize>,
        num_classes: usize,
    ) -> Result<Self, CountsError> {
        Self::from_objects(labels.into_iter().map(|label| [label]), num_classes)
    }

    /// Counts of a detection or multi-label set: the labels of all objects of each image. Images
    /// without objects do not count as annotated.
    ///
    /// # Errors
    /// Without classes, or if a label is outside `0..num_classes`; the error gives the image.
    pub fn from_objects<L: AsRef<[usize]>>(
        images: impl IntoIterator<Item = L>,
        num_classes: usize,
    ) -> Result<Self, CountsError> {
        let mut image_counts = vec![0; num_classes];
        let mut instance_counts = vec![0; num_classes];
        let mut last_image = vec![None; num_classes];
        let mut num_images = 0;
        for (index, labels) in images.into_iter().enumerate() {
            let labels = labels.as_ref();
            num_images += u64::from(!labels.is_empty());
            for &label in labels {
                if label >= num_classes {
                    return Err(CountsError::LabelOutOfRange { label, index, num_classes });
                }
                instance_counts[label] += 1;
                if last_image[label].replace(index) != Some(index) {
                    image_counts[label] += 1;
                }
            }
        }
        Self::new(image_counts, instance_counts, num_images)
    }

    /// Number of classes, background excluded.
    pub fn num_classes(&self) -> usize {
        self.image_counts.len()
    }

    /// Training images that contain each class.
    pub fn image_counts(&self) -> &[u64] {
        &self.image_counts
    }

    /// Training objects of each class.
    pub fn instance_counts(&self) -> &[u64] {
        &self.instance_counts
    }

    /// Annotated training images.
    pub fn num_images(&self) -> u64 {
        self.num_images
    }

    /// Training objects of all classes.
    pub fn num_instances(&self) -> u64 {
        self.instance_counts.iter().sum()
    }

    /// Fraction of the annotated images that contain each class; they add up to more than 1 when
    /// images hold several classes. All 0 without images.
    pub fn image_frequency(&self) -> Vec<f64> {
        let num_images = self.num_images.max(1) as f64;
        self.image_counts.iter().map(|&count| count as f64 / num_images).collect()
    }

    /// Largest over smallest image count, over the classes that have an image; `None` if none has.
    pub fn imbalance_factor(&self) -> Option<f64> {
        let present = || self.image_counts.iter().copied().filter(|&count| count > 0);
        Some(present().max()? as f64 / present().min()? as f64)
    }

    /// Gini coefficient of the image counts: 0 when all are equal, towards 1 when one class has all.
    pub fn gini(&self) -> f64 {
        let mut sorted = self.image_counts.clone();
        sorted.sort_unstable();
        let total: u64 = sorted.iter().sum();
        if total == 0 {
            return 0.0;
        }
        let classes = sorted.len() as f64;
        let ranked = sorted.iter().zip(1..).map(|(&count, rank)| f64::from(rank) * count as f64);
        2.0 * ranked.sum::<f64>() / (classes * total as f64) - (classes + 1.0) / classes
    }

    /// Share of the image counts that the marked classes hold: EQL's tail ratio
    /// `TR = sum_j T_j N_j / sum_j N_j`. 0 without images.
    pub fn tail_ratio(&self, is_tail: &[bool]) -> f64 {
        let tail = self.image_counts.iter().zip(is_tail).filter(|(_, tail)| **tail);
        let tail: u64 = tail.map(|(&count, _)| count).sum();
        tail as f64 / self.image_counts.iter().sum::<u64>().max(1) as f64
    }
}

impl fmt::Display for ClassCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.image_counts.clone();
        sorted.sort_unstable();
        let shots = ShotThresholds::default();
        let members = |group| sorted.iter().filter(|&&count| shots.group(count) == group).count();
        writeln!(f, "classes           {}", self.num_classes())?;
        writeln!(f, "images            {}", self.num_images)?;
        writeln!(f, "instances         {}", self.num_instances())?;
        let (least, most) = (sorted.first().copied(), sorted.last().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        writeln!(f, "images per class  {least} to {most}, median {middle}")?;
        let empty = sorted.iter().filter(|&&count| count == 0).count();
        if empty > 0 {
            writeln!(f, "without an image  {empty}")?;
        }
        if let Some(factor) = self.imbalance_factor() {
            writeln!(f, "imbalance factor  {factor:.1}")?;
        }
        writeln!(f, "Gini coefficient  {:.3}", self.gini())?;
        let [many, medium, few] = [ShotGroup::Many, ShotGroup::Medium, ShotGroup::Few].map(members);
        let ShotThresholds { many_above, few_below } = shots;
        write!(f, "many/medium/few   {many}/{medium}/{few} (more than {many_above}, ")?;
        write!(f, "{few_below} to {many_above}, fewer than {few_below} images)")
    }
}

/// What is written to files; read back through [`ClassCounts::new`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    image_counts: Vec<u64>,
    instance_counts: Vec<u64>,
    num_images: u64,
}

impl TryFrom<Tables> for ClassCounts {
    type Error = CountsError;

    fn try_from(tables: Tables) -> Result<Self, CountsError> {
        Self::new(tables.image_counts, tables.instance_counts, tables.num_images)
    }
}

impl From<ClassCounts> for Tables {
    fn from(counts: ClassCounts) -> Self {
        let ClassCounts { image_counts, instance_counts, num_images } = counts;
        Self { image_counts, instance_counts, num_images }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_instances_are_counted_apart() {
        let images: [&[usize]; 4] = [&[0, 0, 1], &[1], &[], &[0]];
        let counts = ClassCounts::from_objects(images, 3).unwrap();
        assert_eq!(counts.image_counts(), [2, 2, 0]);
        assert_eq!(counts.instance_counts(), [3, 2, 0]);
        assert_eq!((counts.num_images(), counts.num_instances()), (3, 5));
        assert_eq!(counts.image_frequency(), [2.0 / 3.0, 2.0 / 3.0, 0.0]);
    }

    #[test]
    fn shape_of_the_tail() {
        let counts = ClassCounts::new(vec![100, 10, 0, 1], vec![100, 20, 0, 1], 111).unwrap();
        assert_eq!(counts.imbalance_factor(), Some(100.0));
        assert_eq!(counts.tail_ratio(&[false, true, true, true]), 11.0 / 111.0);
        let gini = |counts: &[u64]| {
            let pairs = counts.iter().flat_map(|a| counts.iter().map(move |b| a.abs_diff(*b)));
            let total: u64 = counts.iter().sum();
            pairs.sum::<u64>() as f64 / (2 * counts.len() as u64 * total) as f64
        };
        assert!((counts.gini() - gini(&[100, 10, 0, 1])).abs() < 1e-12);
        let equal = ClassCounts::from_labels([0, 1, 2], 3).unwrap();
        assert!(equal.gini().abs() < 1e-12);
    }

    #[test]
    fn refusals_name_value_and_place() {
        let message = |result: Result<ClassCounts, CountsError>| result.unwrap_err().to_string();
        assert_eq!(
            message(ClassCounts::from_labels([0, 3], 3)),
            "label 3 at index 1 is outside 0..3"
        );
        assert_eq!(
            message(ClassCounts::from_labels([], 0)),
            "a data set needs at least one class, got 0"
        );
        assert_eq!(
            message(ClassCounts::new(vec![2, 5], vec![2, 5], 4)),
            "class 1 is in 5 images, but the data set has only 4"
        );
        assert_eq!(
            message(ClassCounts::new(vec![2], vec![1], 4)),
            "class 0 has 1 instances in 2 images: fewer than one an image"
        );
    }

    #[test]
    fn summary_reads_well() {
        let counts = ClassCounts::new(vec![200, 50, 5], vec![200, 50, 5], 255).unwrap();
        let expected = "\
classes           3
images            255
instances         255
images per class  5 to 200, median 50
imbalance factor  40.0
Gini coefficient  0.510
many/medium/few   1/1/1 (more than 100, 20 to 100, fewer than 20 images)";
        assert_eq!(counts.to_string(), expected);
    }
}
