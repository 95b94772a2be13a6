//! Pooling of boxes from the levels of a feature pyramid.

use burn::tensor::Tensor;
use longtail_kernels::{Roi, RoiAlignOptions, roi_align};
use longtail_types::BBox;

/// RoIAlign over a feature pyramid: each box is read from the level that fits its size.
///
/// The level of a box of area `a` is `floor(canonical_level + log2(sqrt(a) / canonical_size))`,
/// limited to the levels there are. Level and samples as torchvision's `MultiScaleRoIAlign`.
/// Source: Lin et al., CVPR 2017, <https://arxiv.org/abs/1612.03144>, equation 1.
#[derive(Debug, Clone, PartialEq)]
pub struct RoiAligner {
    /// Side of the output, in bins. Box heads use 7, mask heads 14.
    pub output_size: usize,
    /// Samples per bin and axis; `None` takes one per pixel of the map. torchvision's detectors
    /// use 2.
    pub sampling_ratio: Option<usize>,
    /// Whether pixel centres lie at half-integers; false in torchvision's detectors.
    pub aligned: bool,
    /// Size of each level's map divided by that of the image; powers of 1/2, from fine to coarse.
    pub scales: Vec<f32>,
    /// Side of a square box that is read from [`canonical_level`](Self::canonical_level), in
    /// pixels. Default: 224.
    pub canonical_size: f32,
    /// Level of such a box; level `k` has scale `2^-k`. Default: 4.
    pub canonical_level: f32,
}

impl RoiAligner {
    /// torchvision's settings for Faster and Mask R-CNN: `p2..p5`, two samples per bin and axis.
    pub fn new(output_size: usize) -> Self {
        Self {
            output_size,
            sampling_ratio: Some(2),
            aligned: false,
            scales: vec![1.0 / 4.0, 1.0 / 8.0, 1.0 / 16.0, 1.0 / 32.0],
            canonical_size: 224.0,
            canonical_level: 4.0,
        }
    }

    /// Index of the map that `bbox` is read from.
    pub fn level(&self, bbox: BBox) -> usize {
        let (Some(first), Some(last)) = (self.scales.first(), self.scales.last()) else { return 0 };
        let (lowest, highest) = (-first.log2(), -last.log2());
        let octaves = (bbox.area().sqrt() / self.canonical_size).log2();
        let level = (self.canonical_level + octaves + 1e-6).floor();
        // A box without area is minus infinity: the finest level.
        (level.max(lowest.trunc()).min(highest.trunc()) - lowest.trunc()) as usize
    }

    /// Pools the boxes of each image.
    /// # Shapes
    /// - features: `[batch_size, channels, height, width]` for each of the scales
    /// - rois: boxes of each image of the batch, in the pixels of the padded image tensor
    /// - output: `[num_rois, channels, output_size, output_size]`, image by image
    /// # Panics
    /// If there are more or fewer maps than scales, or more lists of boxes than images.
    pub fn forward(&self, features: &[Tensor<4>], rois: &[Vec<BBox>]) -> Tensor<4> {
        let of_image = |(image, boxes): (usize, &Vec<BBox>)| {
            let roi = |&bbox: &BBox| Roi { image, level: self.level(bbox), bbox: bbox.to_array() };
            boxes.iter().map(roi).collect::<Vec<_>>()
        };
        let rois: Vec<Roi> = rois.iter().enumerate().flat_map(of_image).collect();
        let options = RoiAlignOptions {
            output_size: [self.output_size; 2],
            scales: self.scales.clone(),
            sampling_ratio: self.sampling_ratio,
            aligned: self.aligned,
        };
        roi_align(features, &rois, &options)
    }
}
