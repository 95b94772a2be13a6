//! Settings of the detection loader.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::error::check_positive;

/// Settings of a [`DetectionLoader`](super::DetectionLoader). `workers`, `prefetch` and
/// `cache_bytes` change nothing of what is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionLoaderConfig {
    /// Images per batch. Default 2.
    pub batch_size: usize,
    /// Threads that decode and transform ahead; 0 does it in the caller's thread. Default 2.
    pub workers: usize,
    /// Key of order and augmentation. Default 0.
    pub seed: u64,
    /// Leave out batches that are not full. Default false.
    pub drop_last: bool,
    /// Put wide images with wide ones and tall images with tall ones, by the sizes in the data
    /// set, so that batches need little padding. Batches then come in the order in which they
    /// fill up, those that do not fill up last. Default true.
    pub group_by_aspect: bool,
    /// Load images without objects too; they teach what background is. Default true.
    pub keep_empty: bool,
    /// Sizes that batches are padded to.
    pub padding: BatchPadding,
    /// Batches that may be ready or in the making beside the one in use. Default: two per worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<usize>,
    /// Decoded images are kept in memory until they fill this many bytes; 0 keeps none. Default
    /// 512 MiB.
    pub cache_bytes: usize,
}

impl Default for DetectionLoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 2,
            workers: 2,
            seed: 0,
            drop_last: false,
            group_by_aspect: true,
            keep_empty: true,
            padding: BatchPadding::default(),
            prefetch: None,
            cache_bytes: 512 << 20,
        }
    }
}

/// Sizes that batches are padded to: few, because GPU kernels are compiled for every size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchPadding {
    /// Height and width become multiples of this, where `sizes` is empty. Default 32: the feature
    /// pyramid halves them five times.
    pub multiple: usize,
    /// The sizes allowed, `[height, width]`: a batch takes the one of least area that holds all
    /// of its images. Default: none, any multiple.
    pub sizes: Vec<[usize; 2]>,
}

impl Default for BatchPadding {
    fn default() -> Self {
        Self { multiple: 32, sizes: Vec::new() }
    }
}

impl BatchPadding {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        check_positive("padding.multiple", self.multiple)?;
        if let Some(size) = self.sizes.iter().find(|size| size.contains(&0)) {
            let value = format!("{size:?}");
            return Err(DataError::setting("padding.sizes", "[height, width] above 0", value));
        }
        Ok(())
    }

    /// The padded `[height, width]` of images of these sizes.
    ///
    /// # Errors
    /// If no allowed size holds them all.
    pub fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2], DataError> {
        let largest = |axis: usize| sizes.iter().map(|size| size[axis]).max().unwrap_or(0);
        let [height, width] = [largest(0), largest(1)];
        if self.sizes.is_empty() {
            return Ok([height, width].map(|side| side.next_multiple_of(self.multiple.max(1))));
        }
        let fits = |size: &&[usize; 2]| size[0] >= height && size[1] >= width;
        let smallest = self.sizes.iter().filter(fits).min_by_key(|size| size[0] * size[1]);
        smallest.copied().ok_or_else(|| {
            let expected = "sizes [height, width], one of which holds the images of every batch";
            let value = format!("{:?} for [{height}, {width}]", self.sizes);
            DataError::setting("padding.sizes", expected, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_few_sizes() {
        let any = BatchPadding::default();
        assert_eq!(any.size(&[[33, 64], [20, 65]]).unwrap(), [64, 96]);
        assert_eq!(any.size(&[[32, 32]]).unwrap(), [32, 32]);
        let sizes = vec![[100, 100], [64, 128], [128, 64]];
        let some = BatchPadding { sizes, ..Default::default() };
        assert_eq!(some.size(&[[60, 90]]).unwrap(), [64, 128]);
        assert_eq!(some.size(&[[60, 90], [70, 10]]).unwrap(), [100, 100]);
        let message = some.size(&[[60, 90], [110, 10]]).unwrap_err().to_string();
        assert!(message.ends_with("for [110, 90]"), "{message}");
        let error = BatchPadding { sizes: vec![[0, 5]], ..Default::default() }.validate();
        assert!(error.unwrap_err().to_string().starts_with("padding.sizes must be"));
    }
}
