//! The images that decide over the rates of a meta sampler.

use std::sync::Arc;

use longtail_data::{ImageDataset, Sampler, SamplerConfig};

use super::features::{CachedFeatures, LiveImages, Rows};
use super::meta_config::{MetaSamplerConfig, MetaSource};
use super::start::Base;
use super::training::FeatureSource;
use crate::error::TrainingError;
use crate::recipe_file::refuse;

/// Batches without end in which classes take turns, one image each.
pub(super) struct MetaSet {
    pub(super) rows: Rows,
    labels: Vec<usize>,
    sampler: Sampler,
    batch_size: usize,
    /// The epoch that was drawn last, with its order.
    order: Option<(u64, Vec<usize>)>,
}

impl MetaSet {
    /// Training images as `rows` has them, or validation images without augmentation.
    pub(super) fn new(
        base: &Base,
        config: &MetaSamplerConfig,
        rows: &Rows,
    ) -> Result<Self, TrainingError> {
        let seed = base.recipe.seed.wrapping_add(1); // other orders than those of the training
        let (set, rows) = match config.meta_set {
            MetaSource::Train => {
                let rows = match rows {
                    Rows::Live(live) => Rows::Live(LiveImages { seed, ..live.clone() }),
                    cached => cached.clone(),
                };
                (base.train.clone(), rows)
            }
            MetaSource::Validation => {
                let set = base.validation.clone().ok_or_else(|| {
                    refuse("stage_two.meta_set", "validation, but there is no `dataset.validation`")
                })?;
                let rows = validation_rows(base, &set, config.training.features, seed)?;
                (set, rows)
            }
        };
        let order = SamplerConfig::ClassAware { images_per_class: 1 };
        Ok(Self {
            rows,
            labels: set.labels().to_vec(),
            sampler: Sampler::new(order, &set, seed)?,
            batch_size: config.meta_batch_size(),
            order: None,
        })
    }

    /// Indices and labels of the batch of a step. Batches run on from epoch to epoch.
    pub(super) fn batch(&mut self, step: u64) -> (Vec<usize>, Vec<usize>) {
        let (length, size) = (self.sampler.len().max(1) as u64, self.batch_size as u64);
        let indices: Vec<usize> = (step * size..(step + 1) * size)
            .map(|position| self.order(position / length)[(position % length) as usize])
            .collect();
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        (indices, labels)
    }

    fn order(&mut self, epoch: u64) -> &[usize] {
        let order = match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => self.sampler.order(epoch),
        };
        &self.order.insert((epoch, order)).1
    }
}

fn validation_rows(
    base: &Base,
    set: &Arc<ImageDataset>,
    features: FeatureSource,
    seed: u64,
) -> Result<Rows, TrainingError> {
    let recipe = &base.recipe;
    Ok(match features {
        FeatureSource::Cached { .. } => {
            let model = base.trained.model();
            Rows::Cached(CachedFeatures::new(model, set, 0, recipe, &base.device)?)
        }
        FeatureSource::Live {} => {
            let (set, pipeline) = (set.clone(), recipe.transforms.test_pipeline()?);
            Rows::Live(LiveImages { set, pipeline, seed })
        }
    })
}
