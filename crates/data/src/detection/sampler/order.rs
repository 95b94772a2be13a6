//! The order of an epoch.

use longtail_types::{KeyedRng, Stream};

use super::DetectionSamplerConfig;
use super::repeat_factors::repeat_factors;
use crate::DataError;
use crate::detection::DetectionDataset;
use crate::sampler::ShuffledCycle;

/// Draws the order of any epoch of a detection set.
///
/// The order is a function of (seed, epoch): an epoch can be asked for at any time, in any order.
#[derive(Debug, Clone)]
pub struct DetectionSampler {
    config: DetectionSamplerConfig,
    seed: u64,
    len: usize,
    /// Repeat factor of each image; empty for other samplers.
    factors: Vec<f64>,
    /// Images of each class that has any, with its label; empty for other samplers.
    classes: Vec<(usize, Vec<usize>)>,
}

impl DetectionSampler {
    /// A sampler of `dataset`.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(
        config: DetectionSamplerConfig,
        dataset: &DetectionDataset,
        seed: u64,
    ) -> Result<Self, DataError> {
        config.validate()?;
        let factors = match config {
            DetectionSamplerConfig::RepeatFactor { threshold, exponent, frequency } => {
                repeat_factors(dataset, threshold, exponent, frequency)
            }
            _ => Vec::new(),
        };
        let classes = match config {
            DetectionSamplerConfig::ClassAware { .. } => images_by_class(dataset),
            _ => Vec::new(),
        };
        Ok(Self { config, seed, len: dataset.num_images(), factors, classes })
    }

    /// Images of an epoch, in expectation.
    pub fn expected_len(&self) -> f64 {
        match self.config {
            DetectionSamplerConfig::RepeatFactor { .. } => self.factors.iter().sum(),
            DetectionSamplerConfig::ClassAware { .. } if self.classes.is_empty() => 0.0,
            _ => self.len as f64,
        }
    }

    /// How often each image comes in an epoch, in expectation; `None` if not by repeat factors.
    pub fn repeat_factors(&self) -> Option<&[f64]> {
        let has_factors = matches!(self.config, DetectionSamplerConfig::RepeatFactor { .. });
        has_factors.then_some(&self.factors)
    }

    /// Indices of the images of an epoch, in order.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let rng = |index| KeyedRng::new(self.seed, Stream::Order, epoch, index);
        let mut first = rng(0);
        let mut order = match self.config {
            DetectionSamplerConfig::Sequential => return (0..self.len).collect(),
            DetectionSamplerConfig::ClassAware { images_per_class } => {
                let cycle = |(label, images): &(usize, Vec<usize>)| {
                    ShuffledCycle::new(images.clone(), rng(1 + *label as u64))
                };
                let mut cycles: Vec<_> = self.classes.iter().map(cycle).collect();
                let classes = ShuffledCycle::new((0..cycles.len()).collect(), first);
                let visits = classes.flat_map(|class| std::iter::repeat_n(class, images_per_class));
                return visits.filter_map(|class| cycles[class].next()).take(self.len).collect();
            }
            DetectionSamplerConfig::Shuffled => (0..self.len).collect(),
            DetectionSamplerConfig::RepeatFactor { .. } => {
                let mut order = Vec::with_capacity(self.expected_len() as usize);
                for (image, factor) in self.factors.iter().enumerate() {
                    let times = factor.floor() as usize + usize::from(first.chance(factor.fract()));
                    order.extend(std::iter::repeat_n(image, times));
                }
                order
            }
        };
        first.shuffle(&mut order);
        order
    }
}

/// Labels of the classes with a target, each with its images in order.
fn images_by_class(dataset: &DetectionDataset) -> Vec<(usize, Vec<usize>)> {
    let mut classes = vec![Vec::new(); dataset.num_classes()];
    for image in 0..dataset.num_images() {
        for target in dataset.targets(image) {
            let images: &mut Vec<usize> = &mut classes[target.label as usize];
            if images.last() != Some(&image) {
                images.push(image);
            }
        }
    }
    classes.into_iter().enumerate().filter(|(_, images)| !images.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{DetectionDatasetBuilder, NewAnnotation, RepeatFrequency};
    use longtail_types::{BBox, ClassMap};

    /// Images 0..=49 have class 0 and, if even, it again; class 1 is in images 0..5, thrice each;
    /// class 2 in image 7; class 3 in none. Images 50..60 are empty, image 60 has a crowd.
    fn dataset() -> DetectionDataset {
        let map = ClassMap::from_names(["a", "b", "c", "d"]).unwrap();
        let mut builder = DetectionDatasetBuilder::new(map);
        for image in 0..61 {
            builder.add_file(image, [10, 10], "x").unwrap();
        }
        let mut add = |image: usize, label: usize, times: usize, is_crowd: bool| {
            for _ in 0..times {
                let bbox = BBox::new(1.0, 1.0, 5.0, 5.0);
                let new = NewAnnotation { label, bbox, is_crowd, ..Default::default() };
                builder.annotate(image, new).unwrap();
            }
        };
        (0..50).for_each(|image| add(image, 0, 1 + usize::from(image % 2 == 0), false));
        (0..5).for_each(|image| add(image, 1, 3, false));
        add(7, 2, 1, false);
        add(60, 3, 1, true);
        builder.build().unwrap()
    }

    fn sampler(config: DetectionSamplerConfig) -> DetectionSampler {
        DetectionSampler::new(config, &dataset(), 3).unwrap()
    }

    fn repeat(threshold: f64, exponent: f64, frequency: RepeatFrequency) -> DetectionSampler {
        sampler(DetectionSamplerConfig::RepeatFactor { threshold, exponent, frequency })
    }

    /// Printed by xtask/reference/detection_data.py repeat-factors: factors of images 0, 7, 9 and
    /// 50, and their sum.
    #[test]
    fn factors_are_those_of_the_reference() {
        let cases = [
            (RepeatFrequency::Image, 0.3, 0.5, EXPECTED[0]),
            (RepeatFrequency::Instance, 0.3, 0.5, EXPECTED[1]),
            (RepeatFrequency::ImageAndInstance, 0.3, 0.5, EXPECTED[2]),
            (RepeatFrequency::Image, 1.0, 1.0, EXPECTED[3]),
        ];
        for (frequency, threshold, exponent, expected) in cases {
            let sampler = repeat(threshold, exponent, frequency);
            let factors = sampler.repeat_factors().unwrap();
            let found = [factors[0], factors[7], factors[9], factors[50], sampler.expected_len()];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12 * expected, "{frequency:?} {found}");
            }
            assert_eq!(factors[60], 1.0, "a crowd is no object");
        }
    }

    const EXPECTED: [[f64; 5]; 4] = [
        [1.9131126469708992, 4.277849927241487, 1.0, 1.0, 68.84341316209598],
        [1.3490737563232043, 5.224940191045253, 1.0, 1.0, 66.97030897266127],
        [1.6065273308968195, 4.727738361638052, 1.0, 1.0, 67.76037501612214],
        [12.200000000000001, 61.0, 1.22, 1.0, 186.68],
    ];

    #[test]
    fn images_come_as_often_as_their_factors_say() {
        let sampler = repeat(0.3, 0.5, RepeatFrequency::Image);
        let factors = sampler.repeat_factors().unwrap();
        let mut times = vec![0_u32; 61];
        for epoch in 0..2000 {
            let order = sampler.order(epoch);
            let mut now = vec![0_u32; 61];
            order.iter().for_each(|&image| now[image] += 1);
            for ((now, times), factor) in now.iter().zip(&mut times).zip(factors) {
                assert!((factor.floor()..=factor.ceil()).contains(&f64::from(*now)));
                *times += now;
            }
        }
        for (times, factor) in times.iter().zip(factors) {
            let mean = f64::from(*times) / 2000.0;
            assert!((mean - factor).abs() < 0.05, "{mean} {factor}"); // 4 standard deviations
        }
        assert_eq!(sampler.order(5), sampler.order(5));
        assert_ne!(sampler.order(5), sampler.order(6));
    }

    #[test]
    fn classes_take_turns() {
        let sampler = sampler(DetectionSamplerConfig::ClassAware { images_per_class: 1 });
        let order = sampler.order(0);
        assert_eq!((order.len(), sampler.expected_len()), (61, 61.0));
        assert!(order.iter().all(|&image| image < 50), "no image without objects");
        let of_rarest = order.iter().filter(|&&image| image == 7).count();
        assert!((20..=22).contains(&of_rarest), "{of_rarest}");
        assert_eq!(order, sampler.order(0));
    }

    #[test]
    fn every_image_once() {
        let sequential = sampler(DetectionSamplerConfig::Sequential).order(4);
        assert_eq!(sequential, (0..61).collect::<Vec<_>>());
        let mut shuffled = sampler(DetectionSamplerConfig::Shuffled).order(4);
        assert_ne!(shuffled, sequential);
        shuffled.sort_unstable();
        assert_eq!(shuffled, sequential);
    }

    #[test]
    fn sets_without_objects_or_images() {
        let empty = dataset().subset(&[50, 51, 60]).unwrap();
        let order = |config, set: &DetectionDataset| {
            DetectionSampler::new(config, set, 0).unwrap().order(0)
        };
        let class_aware = DetectionSamplerConfig::ClassAware { images_per_class: 2 };
        assert!(order(class_aware, &empty).is_empty());
        let mut all = order(DetectionSamplerConfig::repeat_factor(0.001), &empty);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        let none = dataset().subset(&[]).unwrap();
        assert!(order(DetectionSamplerConfig::repeat_factor(0.001), &none).is_empty());
        assert!(order(DetectionSamplerConfig::Shuffled, &none).is_empty());
    }
}
