//! Which classes every image of the synthetic detection set holds.

use longtail_types::{FrequencyGroup, KeyedRng, Stream};

use super::SyntheticDetectionConfig;
use crate::{DataError, Split};

/// Keys of the generators; the classification set uses small numbers.
const CLASS_IMAGES: u64 = 1 << 32;
const IMAGE_OBJECTS: u64 = 2 << 32;
const DECK: u64 = 3 << 32;
const NEGATIVES: u64 = 4 << 32;

/// One object to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) label: usize,
    /// If not, the class is not exhaustively annotated in the image.
    pub(super) is_annotated: bool,
}

/// The objects of every image, in front-to-back order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) images: Vec<Vec<Planned>>,
}

impl Plan {
    pub(super) fn new(config: &SyntheticDetectionConfig, split: Split) -> Result<Self, DataError> {
        match split {
            Split::Train => Self::train(config),
            Split::Test => Ok(Self::test(config)),
        }
    }

    fn train(config: &SyntheticDetectionConfig) -> Result<Self, DataError> {
        let num_images = config.train_images;
        let mut images = vec![Vec::new(); num_images];
        let mut order: Vec<usize> = (0..num_images).collect();
        for (label, count) in train_counts(config).into_iter().enumerate() {
            let mut rng = KeyedRng::new(config.seed, Stream::Synthetic, CLASS_IMAGES, label as u64);
            let mut missing = count;
            for place in 0..num_images {
                if missing == 0 {
                    break;
                }
                order.swap(place, place + rng.below(num_images - place));
                let image = &mut images[order[place]];
                if image.len() < config.max_objects {
                    image.push(Planned { label, is_annotated: true });
                    missing -= 1;
                }
            }
            if missing > 0 {
                let expected = "enough for the classes of every image";
                let name = "synthetic_detection.max_objects";
                return Err(DataError::setting(name, expected, config.max_objects));
            }
        }
        for (number, image) in images.iter_mut().enumerate() {
            let mut rng =
                KeyedRng::new(config.seed, Stream::Synthetic, IMAGE_OBJECTS, number as u64);
            for planned in image.clone() {
                while image.len() < config.max_objects && rng.chance(config.repeats) {
                    image.push(planned);
                }
                if image.len() < config.max_objects && rng.chance(config.unannotated) {
                    image.push(Planned { is_annotated: false, ..planned });
                }
            }
            rng.shuffle(image);
        }
        Ok(Self { images })
    }

    fn test(config: &SyntheticDetectionConfig) -> Self {
        let mut rng = KeyedRng::new(config.seed, Stream::Synthetic, DECK, 0);
        let classes = 0..config.num_classes;
        let mut deck: Vec<usize> =
            classes.flat_map(|label| vec![label; config.test_instances]).collect();
        rng.shuffle(&mut deck);
        let mut images = Vec::new();
        while !deck.is_empty() {
            let objects = 1 + rng.below(2 * config.test_objects - 1);
            let rest = deck.len().saturating_sub(objects.min(config.max_objects));
            let labels = deck.drain(rest..);
            images.push(labels.map(|label| Planned { label, is_annotated: true }).collect());
        }
        Self { images }
    }
}

/// Training images that hold each class: Zipf and Mandelbrot's law, by multiplication alone.
pub(super) fn train_counts(config: &SyntheticDetectionConfig) -> Vec<usize> {
    let count = |label: usize| {
        let ratio = (1 + config.offset) as f64 / (1 + label + config.offset) as f64;
        let count = (0..config.exponent).fold(config.head_count as f64, |n, _| n * ratio);
        ((count + 0.5) as usize).max(1)
    };
    (0..config.num_classes).map(count).collect()
}

/// LVIS's flags, from the training counts.
pub(super) fn frequencies(config: &SyntheticDetectionConfig) -> Vec<FrequencyGroup> {
    train_counts(config).into_iter().map(|count| FrequencyGroup::of(count as u64)).collect()
}

/// Classes known to be absent from an image, ascending.
pub(super) fn negatives(
    config: &SyntheticDetectionConfig,
    split: Split,
    number: usize,
    objects: &[Planned],
) -> Vec<usize> {
    let mut is_open = vec![true; config.num_classes];
    objects.iter().for_each(|object| is_open[object.label] = false);
    let mut labels: Vec<usize> = (0..config.num_classes).filter(|&label| is_open[label]).collect();
    let mut rng =
        KeyedRng::new(config.seed, Stream::Synthetic, NEGATIVES + split as u64, number as u64);
    let len = labels.len();
    let wanted = config.negatives.min(len);
    for place in 0..wanted {
        labels.swap(place, place + rng.below(len - place));
    }
    labels.truncate(wanted);
    labels.sort_unstable();
    labels
}
