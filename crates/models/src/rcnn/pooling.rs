//! How regions are cut out of the pyramid.

use longtail_ops::RoiAligner;

use crate::fpn::PyramidLevels;

/// Levels coarser than this are for proposals only.
const COARSEST_STRIDE: usize = 32;

/// Settings of a pooled region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolingConfig {
    pub(crate) size: usize,
    pub(crate) sampling_ratio: usize,
    pub(crate) aligned: bool,
}

impl PoolingConfig {
    pub(crate) fn aligner(self, strides: &[usize]) -> RoiAligner {
        RoiAligner {
            sampling_ratio: (self.sampling_ratio > 0).then_some(self.sampling_ratio),
            aligned: self.aligned,
            scales: strides.iter().map(|&stride| 1.0 / stride as f32).collect(),
            ..RoiAligner::new(self.size)
        }
    }
}

/// The strides of the levels that regions are pooled from: the first ones, up to 32.
pub(crate) fn pooled_strides(levels: PyramidLevels) -> Vec<usize> {
    let strides = (levels.first()..).take(levels.count()).map(|level| 1 << level);
    strides.take_while(|&stride| stride <= COARSEST_STRIDE).collect()
}
