//! Making one batch.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cache::Cache;
use crate::dataset::Scratch;
use crate::{Batch, DataError, ImageDataset, Pipeline};
use longtail_types::{KeyedRng, Stream};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What is needed to make any batch of any epoch.
#[derive(Debug)]
pub(super) struct BatchMaker {
    pub(super) dataset: Arc<ImageDataset>,
    pub(super) pipeline: Pipeline,
    pub(super) cache: Cache,
    pub(super) seed: u64,
    /// Of the random transforms.
    pub(super) stream: Stream,
    pub(super) batch_size: usize,
}

impl BatchMaker {
    /// Batch number `batch` of an epoch with this `order`; `None` once `stop` is set.
    pub(super) fn make(
        &self,
        order: &[usize],
        epoch: u64,
        batch: usize,
        stop: &AtomicBool,
    ) -> Option<Result<Batch, DataError>> {
        let start = batch * self.batch_size;
        let indices = &order[start..(start + self.batch_size).min(order.len())];
        let labels = indices.iter().map(|&index| self.dataset.labels()[index]).collect();
        let (images, size) = (Vec::new(), [0, 0]);
        let mut result = Batch { images, size, labels, indices: indices.to_vec() };
        for (i, &index) in indices.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let rng = KeyedRng::new(self.seed, self.stream, epoch, (start + i) as u64);
            if let Err(error) = self.add_image(&mut result, i, index, rng) {
                return Some(Err(error.with_item(|| self.dataset.item_name(index))));
            }
        }
        Some(Ok(result))
    }

    fn add_image(
        &self,
        batch: &mut Batch,
        position: usize,
        index: usize,
        mut rng: KeyedRng,
    ) -> Result<(), DataError> {
        let size = match self.cache.get(index) {
            Some(image) => {
                self.pipeline.apply(Cow::Borrowed(image), &mut rng, &mut batch.images)?
            }
            None => SCRATCH.with_borrow_mut(|scratch| {
                let image = self.dataset.load_into(index, scratch)?;
                if !self.dataset.is_in_memory(index) {
                    self.cache.offer(index, &image);
                }
                let image_ref = Cow::Borrowed(&image);
                let size = self.pipeline.apply(image_ref, &mut rng, &mut batch.images);
                scratch.pixels = image.into_pixels();
                size
            })?,
        };
        if position == 0 {
            batch.size = size;
            batch.images.reserve_exact((batch.len() - 1) * batch.images.len());
        } else if size != batch.size {
            let ([height, width], [batch_height, batch_width]) = (size, batch.size);
            let item = self.dataset.item_name(index);
            return Err(DataError::SizeMismatch { item, width, height, batch_width, batch_height });
        }
        Ok(())
    }
}
