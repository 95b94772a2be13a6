//! The mask branch of Mask R-CNN.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use longtail_ops::{RoiAligner, mask_targets};
use longtail_types::{BBox, Instance, Mask};
use serde::{Deserialize, Serialize};

use crate::box_loss::binary_cross_entropy;
use crate::conv::ConvInit;
use crate::error::ModelError;
use crate::host::{HostRead, blocking, real_rows, upload, upload_indices};
use crate::norm::NormConfig;
use crate::rcnn::check::check_positive;
use crate::rcnn::conv_block::{ConvBlock, conv_blocks, fold_blocks, forward_blocks};
use crate::rcnn::mask_predictor::MaskPredictor;
use crate::rcnn::pooling::PoolingConfig;
use crate::rcnn::rois::{Regions, filled};
use crate::weight_init::WeightInit;

/// Configuration of [`MaskHead`]. Defaults: torchvision's `maskrcnn_resnet50_fpn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskHeadConfig {
    /// Side of a pooled region; the mask has twice as many pixels. Default: 14.
    pub pooled_size: usize,
    /// Samples per bin and axis, 0 for as many as pixels. Default: 2.
    pub sampling_ratio: usize,
    /// Whether pooling shifts by half a pixel, as detectron2 does. Default: false, torchvision's.
    pub aligned: bool,
    /// 3x3 convolutions. Default: 4.
    pub num_convs: usize,
    /// Their channels, and those of the upsampling layer. Default: 256.
    pub channels: usize,
    /// What follows each convolution. Default: nothing.
    pub norm: Option<NormConfig>,
    /// One mask for all classes instead of one for each. Default: false.
    pub class_agnostic: bool,
}

impl Default for MaskHeadConfig {
    fn default() -> Self {
        Self {
            pooled_size: 14,
            sampling_ratio: 2,
            aligned: false,
            num_convs: 4,
            channels: 256,
            norm: None,
            class_agnostic: false,
        }
    }
}

impl MaskHeadConfig {
    /// Makes the branch for a pyramid of `in_channels`; `num_groups` masks if they are
    /// class-specific, `strides` of the levels that regions are pooled from.
    ///
    /// # Errors
    /// If a size is 0 or the norm refuses its channels.
    pub fn init(
        &self,
        in_channels: usize,
        num_groups: usize,
        strides: &[usize],
        init: &WeightInit,
    ) -> Result<MaskHead, ModelError> {
        check_positive("mask_head.pooled_size", self.pooled_size)?;
        check_positive("mask_head.num_convs", self.num_convs)?;
        check_positive("mask_head.channels", self.channels)?;
        let (channels, conv_init) = (self.channels, ConvInit::KaimingNormalFanOut);
        let layers = [in_channels, channels];
        let layer_init = init.child("mask_head");
        let num_groups = if self.class_agnostic { 1 } else { num_groups };
        let pooling = PoolingConfig {
            size: self.pooled_size,
            sampling_ratio: self.sampling_ratio,
            aligned: self.aligned,
        };
        Ok(MaskHead {
            mask_head: conv_blocks(
                self.num_convs,
                layers,
                self.norm.as_ref(),
                conv_init,
                &layer_init,
            )?,
            mask_predictor: MaskPredictor::new(
                channels,
                channels,
                num_groups,
                &init.child("mask_predictor"),
            ),
            aligner: pooling.aligner(strides),
            class_agnostic: self.class_agnostic,
        })
    }
}

/// Predicts the pixels of objects inside their boxes.
///
/// Source: He et al., <https://arxiv.org/abs/1703.06870>. It sees positive regions only.
#[derive(Module, Debug)]
pub struct MaskHead {
    mask_head: Vec<ConvBlock>,
    mask_predictor: MaskPredictor,
    #[module(skip)]
    aligner: RoiAligner,
    class_agnostic: bool,
}

impl MaskHead {
    /// Cuts boxes out of the levels of the pyramid that are pooled from.
    ///
    /// # Shapes
    /// - features: `[batch, channels, height_l, width_l]` of each of these levels
    /// - boxes: of each image
    /// - output: `[num_boxes, channels, size, size]`, image by image, perhaps with more rows at the
    ///   end that fill up
    pub fn pool(&self, features: &[Tensor<4>], boxes: Vec<Vec<BBox>>) -> Tensor<4> {
        let boxes = match features.first() {
            Some(level) => filled(boxes, &level.device()),
            None => boxes,
        };
        self.aligner.forward(features, &boxes)
    }

    /// With fixed norms folded into the convolutions.
    pub(crate) fn fold(&mut self) {
        fold_blocks(&mut self.mask_head);
    }

    /// Logits of the mask of one class in each region.
    ///
    /// # Shapes
    /// - regions: `[num_rows, channels, size, size]`
    /// - labels: the class of each region, for the first of the rows
    /// - output: `[num_rows, 2 size, 2 size]`
    pub fn forward(&self, regions: Tensor<4>, mut labels: Vec<usize>) -> Tensor<3> {
        let [num_rows, ..] = regions.dims();
        labels.resize(num_rows, 0);
        if self.class_agnostic {
            labels.fill(0);
        }
        let groups = upload_indices(&labels, &regions.device());
        self.mask_predictor.forward(forward_blocks(&self.mask_head, regions), groups)
    }

    /// Mean binary cross-entropy over the pixels of the positive regions; 0 without any.
    ///
    /// # Shapes
    /// - logits: `[num_rows, 2 size, 2 size]` of the positives of each image, then rows that fill up
    pub fn loss(
        &self,
        logits: Tensor<3>,
        regions: &[Regions],
        targets: &[Vec<Instance>],
        sizes: &[[usize; 2]],
    ) -> Tensor<1> {
        let mut expected = Vec::new();
        let no_mask = Mask::default();
        let device = logits.device();
        let [num_rows, height, width] = logits.dims();
        for ((regions, instances), &size) in regions.iter().zip(targets).zip(sizes) {
            let (rois, objects): (Vec<BBox>, Vec<usize>) = regions.positives().unzip();
            let mask_of = |&object: &usize| instances[object].mask.as_ref().unwrap_or(&no_mask);
            let masks: Vec<&Mask> = objects.iter().map(mask_of).collect();
            expected.extend(mask_targets(&masks, &rois, size, height));
        }
        let num_regions = expected.len() / (height * width).max(1);
        expected.resize(num_rows * height * width, 0.0);
        let expected = upload(expected, [num_rows, height, width], &device);
        let weight = upload(real_rows(num_regions, num_rows), [num_rows, 1, 1], &device);
        let loss = binary_cross_entropy(logits, expected) * weight;
        loss.sum() / (num_regions.max(1) * height * width) as f32
    }

    /// Probabilities of the mask of one class in each region, `[4 size^2]` values for each label.
    /// Waits for the device.
    ///
    /// # Errors
    /// If the masks can't be read back.
    pub fn predict(
        &self,
        regions: Tensor<4>,
        labels: Vec<usize>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        blocking(self.predict_by(HostRead::Blocking, regions, labels))
    }

    /// As [`predict`](Self::predict), waiting as `how` says.
    pub(crate) async fn predict_by(
        &self,
        how: HostRead,
        regions: Tensor<4>,
        labels: Vec<usize>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let num_masks = labels.len();
        let logits = self.forward(regions, labels);
        let [_, height, width] = logits.dims();
        let probabilities = how.read("masks", sigmoid(logits)).await?;
        let masks = probabilities.chunks_exact((height * width).max(1)).take(num_masks);
        Ok(masks.map(<[f32]>::to_vec).collect())
    }
}
