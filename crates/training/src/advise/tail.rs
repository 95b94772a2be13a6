//! The shape of a training set's tail.

use std::fmt;

use longtail_types::{ClassCounts, ClassMap, FrequencyGroup, ShotGroup, ShotThresholds};

/// Share of the image counts that a tail may hold: what LVIS v0.5's rare and common classes hold.
const TAIL_SHARE: f64 = 0.091;

/// How unequal the classes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailShape {
    /// The largest class has less than twice the images of the smallest.
    Balanced,
    /// Unequal, but less than any benchmark of the field, or without a small class.
    Mild,
    /// At least ten to one, as the mildest benchmark, CIFAR-LT with imbalance 10; in detection there
    /// also has to be a class in at most 100 images, LVIS's bound of a frequent class.
    Long,
}

/// The classes of a training set by their number of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// How unequal they are.
    pub shape: TailShape,
    /// Images and objects of each class.
    pub counts: ClassCounts,
    /// Names of the groups with their number of classes, the largest classes first.
    pub groups: [(&'static str, usize); 3],
    /// Classes without a training image.
    pub num_empty: usize,
}

impl Tail {
    /// Of a classification set, in the groups of ImageNet-LT: more than 100 images, 20 to 100, fewer.
    pub fn of_classification(counts: ClassCounts) -> Self {
        let shots = ShotThresholds::default();
        let of = |wanted: ShotGroup| {
            counts.image_counts().iter().filter(|&&count| shots.group(count) == wanted).count()
        };
        let groups = [
            ("many", of(ShotGroup::Many)),
            ("medium", of(ShotGroup::Medium)),
            ("few", of(ShotGroup::Few)),
        ];
        let shape = shape(&counts, true);
        Self { shape, groups, num_empty: num_empty(&counts), counts }
    }

    /// Of a detection set, in LVIS's groups: those of the file, else by training images.
    pub fn of_detection(counts: ClassCounts, classes: &ClassMap) -> Self {
        let images = counts.image_counts();
        let group = |label: usize| {
            classes.frequency(label).unwrap_or_else(|| FrequencyGroup::of(images[label]))
        };
        let of = |wanted| (0..images.len()).filter(|&label| group(label) == wanted).count();
        let groups = [
            ("frequent", of(FrequencyGroup::Frequent)),
            ("common", of(FrequencyGroup::Common)),
            ("rare", of(FrequencyGroup::Rare)),
        ];
        let has_small =
            images.iter().any(|&count| FrequencyGroup::of(count) != FrequencyGroup::Frequent);
        let shape = shape(&counts, has_small);
        Self { shape, groups, num_empty: num_empty(&counts), counts }
    }

    /// Largest over smallest number of images; 1 if no class has any.
    pub fn imbalance(&self) -> f64 {
        self.counts.imbalance_factor().unwrap_or(1.0)
    }

    /// The number of images up to which a class is tail, such that the tail holds at most 9.1 % of
    /// the image counts: on LVIS v0.5 this gives its rare and common classes, Equalization Loss's
    /// own choice. `None` if no class, or every class, would be tail.
    pub fn boundary(&self) -> Option<u64> {
        let images = self.counts.image_counts();
        let share = |most: u64| {
            let is_tail: Vec<bool> = images.iter().map(|&count| count <= most).collect();
            self.counts.tail_ratio(&is_tail)
        };
        let mut bounds: Vec<u64> = images.to_vec();
        bounds.sort_unstable();
        bounds.dedup();
        bounds.pop(); // with the largest, every class
        bounds.into_iter().rev().find(|&most| most > 0 && share(most) <= TAIL_SHARE)
    }
}

fn num_empty(counts: &ClassCounts) -> usize {
    counts.image_counts().iter().filter(|&&count| count == 0).count()
}

fn shape(counts: &ClassCounts, has_small: bool) -> TailShape {
    match counts.imbalance_factor().unwrap_or(1.0) {
        ratio if ratio < 2.0 => TailShape::Balanced,
        ratio if ratio < 10.0 || !has_small => TailShape::Mild,
        _ => TailShape::Long,
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let images = counts.image_counts();
        let [least, most] =
            [images.iter().min(), images.iter().max()].map(|n| n.copied().unwrap_or(0));
        let shape = match self.shape {
            TailShape::Balanced => "balanced",
            TailShape::Mild => "mildly unequal",
            TailShape::Long => "long-tailed",
        };
        write!(
            f,
            "{shape}: {} classes, {} images, {least} to {most} of a class, imbalance {:.1}, Gini \
             coefficient {:.2};",
            counts.num_classes(),
            counts.num_images(),
            self.imbalance(),
            counts.gini()
        )?;
        for (index, (name, number)) in self.groups.iter().enumerate() {
            write!(f, "{} {number} {name}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(images: &[u64]) -> Tail {
        let total = images.iter().sum();
        Tail::of_classification(ClassCounts::new(images.to_vec(), images.to_vec(), total).unwrap())
    }

    #[test]
    fn shapes_follow_the_imbalance() {
        assert_eq!(tail(&[100, 51]).shape, TailShape::Balanced);
        assert_eq!(tail(&[100, 50]).shape, TailShape::Mild);
        assert_eq!(tail(&[100, 10, 0]).shape, TailShape::Long);
        assert_eq!(tail(&[100, 10, 0]).num_empty, 1);
        assert_eq!(tail(&[5000, 100, 20, 19]).groups.map(|(_, n)| n), [1, 2, 1]);
    }

    #[test]
    fn the_boundary_leaves_a_small_share_to_the_tail() {
        // 2 + 3 of 105 is 4.8 %, with 10 it is 14.3 %.
        assert_eq!(tail(&[90, 10, 3, 2]).boundary(), Some(3));
        assert_eq!(tail(&[5, 5, 5]).boundary(), None);
        assert_eq!(tail(&[2, 1]).boundary(), None);
        assert_eq!(tail(&[90, 0]).boundary(), None, "what has no image is not learned either way");
    }

    #[test]
    fn frequent_classes_alone_are_no_long_tail() {
        let counts = ClassCounts::new(vec![5000, 101], vec![5000, 101], 5000).unwrap();
        let classes = ClassMap::from_names(["a", "b"]).unwrap();
        let tail = Tail::of_detection(counts, &classes);
        assert_eq!((tail.shape, tail.groups[0]), (TailShape::Mild, ("frequent", 2)));
    }
}
