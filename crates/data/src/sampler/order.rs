//! The order of an epoch.

use super::SamplerConfig;
use super::cycle::ShuffledCycle;
use crate::{DataError, ImageDataset};
use longtail_types::{KeyedRng, Stream};

/// Draws the order of any epoch of a data set.
///
/// The order is a function of (seed, epoch): an epoch can be asked for at any time, in any order.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplerConfig,
    seed: u64,
    len: usize,
    /// Indices of the images of each class that has any.
    classes: Vec<Vec<usize>>,
    /// Label of each entry of `classes`.
    class_labels: Vec<usize>,
    num_classes: usize,
}

impl Sampler {
    /// A sampler of `dataset`.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(
        config: SamplerConfig,
        dataset: &ImageDataset,
        seed: u64,
    ) -> Result<Self, DataError> {
        config.validate()?;
        let all = dataset.indices_by_class().into_iter().enumerate();
        let (class_labels, classes) = all.filter(|(_, indices)| !indices.is_empty()).unzip();
        let num_classes = dataset.num_classes();
        Ok(Self { config, seed, len: dataset.len(), classes, class_labels, num_classes })
    }

    /// Images in an epoch: as many as the data set has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the data set is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Probability of each class in an epoch, in expectation; 0 for classes without images.
    pub fn class_probabilities(&self, epoch: u64) -> Vec<f64> {
        let mut probabilities = vec![0.0; self.num_classes];
        let weights = self.class_weights(epoch);
        let sum: f64 = weights.iter().sum();
        for (&label, weight) in self.class_labels.iter().zip(weights) {
            probabilities[label] = weight / sum;
        }
        probabilities
    }

    fn class_weights(&self, epoch: u64) -> Vec<f64> {
        let weight = |count: usize| match self.config {
            SamplerConfig::Sequential | SamplerConfig::InstanceBalanced => count as f64,
            _ => {
                let classes = self.classes.len();
                self.config.class_weight(count, self.len, classes, epoch).unwrap_or(1.0)
            }
        };
        self.classes.iter().map(|indices| weight(indices.len())).collect()
    }

    /// Indices of the images of an epoch, in order; [`len`](Self::len) of them.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut rng = KeyedRng::new(self.seed, Stream::Order, epoch, 0);
        match self.config {
            SamplerConfig::Sequential => (0..self.len).collect(),
            SamplerConfig::InstanceBalanced => {
                let mut order: Vec<usize> = (0..self.len).collect();
                rng.shuffle(&mut order);
                order
            }
            SamplerConfig::ClassAware { images_per_class } => {
                let mut cycles = self.cycles(epoch);
                let classes = ShuffledCycle::new((0..cycles.len()).collect(), rng);
                let visits = classes.flat_map(|class| std::iter::repeat_n(class, images_per_class));
                visits.filter_map(|class| cycles[class].next()).take(self.len).collect()
            }
            SamplerConfig::ClassBalancedCopies => self.copies(&mut rng),
            _ => self.weighted(&mut rng, epoch),
        }
    }

    /// One shuffled cycle per class, each with its own generator.
    fn cycles(&self, epoch: u64) -> Vec<ShuffledCycle> {
        let rng = |class| KeyedRng::new(self.seed, Stream::Order, epoch, 1 + class as u64);
        let classes = self.classes.iter().zip(&self.class_labels);
        classes.map(|(indices, &label)| ShuffledCycle::new(indices.clone(), rng(label))).collect()
    }

    fn weighted(&self, rng: &mut KeyedRng, epoch: u64) -> Vec<usize> {
        let mut sum = 0.0;
        let add = |weight: f64| {
            sum += weight;
            sum
        };
        let bounds: Vec<f64> = self.class_weights(epoch).into_iter().map(add).collect();
        let mut cycles = self.cycles(epoch);
        let mut draw = || {
            let at = rng.uniform(0.0, sum);
            let class = bounds.partition_point(|&bound| bound <= at);
            cycles.get_mut(class.min(bounds.len() - 1)).and_then(Iterator::next)
        };
        (0..self.len).filter_map(|_| draw()).collect()
    }

    fn copies(&self, rng: &mut KeyedRng) -> Vec<usize> {
        let share = self.len as f64 / self.classes.len().max(1) as f64;
        let mut order = Vec::with_capacity(self.len);
        while order.len() < self.len {
            let mut pass = Vec::with_capacity(self.len);
            for indices in &self.classes {
                let ratio = share / indices.len() as f64;
                for &index in indices {
                    let copies = ratio.floor() as usize + usize::from(rng.chance(ratio.fract()));
                    pass.extend(std::iter::repeat_n(index, copies));
                }
            }
            rng.shuffle(&mut pass);
            order.append(&mut pass);
        }
        order.truncate(self.len);
        order
    }
}
