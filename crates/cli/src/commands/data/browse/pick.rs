//! Which images and objects are shown.

use longtail::data::{DetectionDataset, ImageDataset, KeyedRng, Stream};

/// One picture: an image, or an object of an image by its place among the annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pick {
    pub(super) image: usize,
    pub(super) annotation: Option<usize>,
}

/// The pictures of each class, in the order in which the classes are shown.
#[derive(Debug, Default)]
pub(super) struct Picks {
    pub(super) classes: Vec<(usize, Vec<Pick>)>,
}

impl Picks {
    /// Up to `per_class` images of each class, at random.
    pub(super) fn of_images(
        set: &ImageDataset,
        order: &[usize],
        per_class: usize,
        seed: u64,
    ) -> Self {
        let by_class = set.indices_by_class();
        let picks = |label: usize| {
            let images = by_class[label].iter().map(|&image| Pick { image, annotation: None });
            some(images.collect(), per_class, seed, label)
        };
        Self { classes: order.iter().map(|&label| (label, picks(label))).collect() }
    }

    /// Up to `per_class` objects of each class, at random, of different images as far as possible.
    pub(super) fn of_objects(
        set: &DetectionDataset,
        order: &[usize],
        per_class: usize,
        seed: u64,
    ) -> Self {
        let mut by_class: Vec<Vec<Pick>> = vec![Vec::new(); set.num_classes()];
        for image in 0..set.num_images() {
            let size = set.image_size(image);
            for (annotation, object) in set.annotations(image).iter().enumerate() {
                if object.is_target(size) {
                    let pick = Pick { image, annotation: Some(annotation) };
                    by_class[object.label as usize].push(pick);
                }
            }
        }
        let mut picks =
            |label: usize| some(std::mem::take(&mut by_class[label]), per_class, seed, label);
        Self { classes: order.iter().map(|&label| (label, picks(label))).collect() }
    }

    /// The `round`-th picture of every class that has one, with the place of the class; the last
    /// classes, which are rare, come first: they keep theirs where there is no room for all.
    pub(super) fn round(&self, round: usize) -> Vec<(usize, Pick)> {
        let classes = self.classes.iter().enumerate().rev();
        classes.filter_map(|(place, (_, picks))| Some((place, *picks.get(round)?))).collect()
    }

    /// Most pictures of a class.
    pub(super) fn num_rounds(&self) -> usize {
        self.classes.iter().map(|(_, picks)| picks.len()).max().unwrap_or_default()
    }
}

/// Some of a class: first one of each image, in random order.
fn some(mut picks: Vec<Pick>, per_class: usize, seed: u64, label: usize) -> Vec<Pick> {
    KeyedRng::new(seed, Stream::Order, 0, label as u64).shuffle(&mut picks);
    let mut seen = std::collections::HashSet::new();
    let (mut first, again): (Vec<Pick>, Vec<Pick>) =
        picks.into_iter().partition(|pick| seen.insert(pick.image));
    first.extend(again);
    first.truncate(per_class);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(image: usize, annotation: usize) -> Pick {
        Pick { image, annotation: Some(annotation) }
    }

    #[test]
    fn different_images_come_first() {
        let all: Vec<Pick> = (0..5).map(|annotation| pick(0, annotation)).collect();
        let all = [all, vec![pick(1, 0), pick(2, 0)]].concat();
        for seed in 0..20 {
            let chosen = some(all.clone(), 4, seed, 0);
            let mut images: Vec<usize> = chosen[..3].iter().map(|pick| pick.image).collect();
            images.sort_unstable();
            assert_eq!((chosen.len(), images), (4, vec![0, 1, 2]));
        }
        assert_ne!(some(all.clone(), 4, 0, 0), some(all.clone(), 4, 1, 0));
        assert_eq!(some(all, 0, 0, 0), []);
    }

    #[test]
    fn rounds_go_through_the_classes() {
        let classes = vec![(3, vec![pick(0, 0), pick(1, 0)]), (1, vec![]), (0, vec![pick(2, 0)])];
        let picks = Picks { classes };
        assert_eq!(picks.num_rounds(), 2);
        assert_eq!(picks.round(0), [(2, pick(2, 0)), (0, pick(0, 0))]);
        assert_eq!(picks.round(1), [(0, pick(1, 0))]);
    }
}
