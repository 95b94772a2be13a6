//! Decoded images kept in memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::RgbImage;

/// Keeps decoded images until a number of bytes is reached.
#[derive(Debug)]
pub(crate) struct Cache {
    images: Vec<OnceLock<RgbImage>>,
    budget: usize,
    used: AtomicUsize,
}

impl Cache {
    /// A cache for a set of `len` images.
    pub(crate) fn new(len: usize, budget: usize) -> Self {
        let len = if budget > 0 { len } else { 0 };
        Self { images: (0..len).map(|_| OnceLock::new()).collect(), budget, used: 0.into() }
    }

    /// The image, if it is kept.
    pub(crate) fn get(&self, index: usize) -> Option<&RgbImage> {
        self.images.get(index)?.get()
    }

    /// Keeps the image if there is room.
    pub(crate) fn offer(&self, index: usize, image: &RgbImage) {
        if let Some(slot) = self.images.get(index)
            && self.reserve(image.pixels().len())
        {
            // Another thread may have been first; its image is the same.
            let _ = slot.set(image.clone());
        }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.budget);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}
