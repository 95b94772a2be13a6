//! Settings of the loader.

use serde::{Deserialize, Serialize};

/// Settings of a [`Loader`](super::Loader). None of them but `seed`, `batch_size` and `drop_last`
/// changes what is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Images per batch. Default 128.
    pub batch_size: usize,
    /// Threads that decode and transform ahead; 0 does it in the caller's thread. Default 2.
    pub workers: usize,
    /// Key of order and augmentation. Default 0.
    pub seed: u64,
    /// Leave out a last batch that is not full. Default false.
    pub drop_last: bool,
    /// Batches that may be ready or in the making beside the one in use. Default: two per worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<usize>,
    /// Decoded images are kept in memory until they fill this many bytes; 0 keeps none. Default
    /// 512 MiB, enough for all of CIFAR. Images of sets that do not fit are decoded every time,
    /// apart from those that came first.
    pub cache_bytes: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 128,
            workers: 2,
            seed: 0,
            drop_last: false,
            prefetch: None,
            cache_bytes: 512 << 20,
        }
    }
}
