//! Decoded images kept in memory.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{DataError, ImageDataset, RgbImage};

/// Keeps decoded images until a number of bytes is reached.
#[derive(Debug)]
pub(super) struct Cache {
    images: Vec<OnceLock<RgbImage>>,
    budget: usize,
    used: AtomicUsize,
}

impl Cache {
    /// A cache for a set of `len` images.
    pub(super) fn new(len: usize, budget: usize) -> Self {
        let len = if budget > 0 { len } else { 0 };
        Self { images: (0..len).map(|_| OnceLock::new()).collect(), budget, used: 0.into() }
    }

    /// The image, from memory if it is there.
    pub(super) fn load(
        &self,
        dataset: &ImageDataset,
        index: usize,
    ) -> Result<Cow<'_, RgbImage>, DataError> {
        let slot = self.images.get(index).filter(|_| !dataset.is_in_memory(index));
        if let Some(image) = slot.and_then(OnceLock::get) {
            return Ok(Cow::Borrowed(image));
        }
        let image = dataset.load(index)?;
        let bytes = image.pixels().len();
        match slot {
            Some(slot) if self.reserve(bytes) => Ok(Cow::Borrowed(slot.get_or_init(|| image))),
            _ => Ok(Cow::Owned(image)),
        }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.budget);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}
