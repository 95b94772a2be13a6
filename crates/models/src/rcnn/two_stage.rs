//! Faster, Mask and Cascade R-CNN as one assembled value.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_ops::ImageBatch;
use longtail_types::Instance;

use crate::detector_input::{check_images, check_targets};
use crate::detector_losses::{DetectorLosses, StepKey};
use crate::error::ModelError;
use crate::host::{HostRead, blocking};
use crate::raw_detection::RawDetection;
use crate::rcnn::roi_heads::RoiHeads;
use crate::rcnn::rpn::Rpn;
use crate::resnet_fpn::ResNetFpn;

/// A two-stage detector: a pyramid, proposals on it, and heads on the proposals.
///
/// Parameter names are torchvision's, but for `roi_heads.stages.N.` where it has `roi_heads.` and
/// `roi_heads.masks.` before those of the mask branch.
#[derive(Module, Debug)]
pub struct RCnn {
    /// Images to a pyramid.
    pub backbone: ResNetFpn,
    /// ResNetFpn to proposals.
    pub rpn: Rpn,
    /// Proposals to detections.
    pub roi_heads: RoiHeads,
    /// Levels that regions are pooled from: the first ones.
    num_pooled_levels: usize,
}

impl RCnn {
    pub(crate) fn new(
        backbone: ResNetFpn,
        rpn: Rpn,
        roi_heads: RoiHeads,
        num_pooled_levels: usize,
    ) -> Self {
        Self { backbone, rpn, roi_heads, num_pooled_levels }
    }

    /// Number of classes, without background.
    pub fn num_classes(&self) -> usize {
        self.roi_heads.stages.first().map_or(0, |stage| stage.loss.get().num_classes())
    }

    /// How many levels of the pyramid regions are pooled from: the first ones.
    pub fn num_pooled_levels(&self) -> usize {
        self.num_pooled_levels
    }

    /// With fixed norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(mut self) -> Self {
        self.backbone = self.backbone.for_inference();
        self.roi_heads.fold();
        self
    }

    /// Whether detections have masks.
    pub fn has_masks(&self) -> bool {
        self.roi_heads.masks.is_some()
    }

    /// The losses of a batch. The device is waited for once, for the proposals, and once more for
    /// each later stage of a cascade.
    ///
    /// # Errors
    /// If the lists of the batch disagree, an object can't be learned, or the proposals can't be
    /// read back.
    pub fn losses(
        &self,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Result<DetectorLosses, ModelError> {
        check_images(batch)?;
        check_targets(batch, targets, self.num_classes(), self.has_masks())?;
        let features = self.backbone.forward(batch.images.clone());
        let output = self.rpn.forward(&features, padded_size(&batch.images));
        let (of_proposals, num_anchors) = self.rpn.counted_losses(&output, targets, key);
        let proposals = self.rpn.proposals(&output, &batch.sizes, self.rpn.config().train)?;
        let features = &features[..self.num_pooled_levels];
        let mut losses = self.roi_heads.losses(features, proposals, batch, targets, key)?;
        losses.updated_losses.iter_mut().for_each(|place| *place += of_proposals.len());
        losses.losses.splice(..0, of_proposals);
        losses.counts.splice(..0, [num_anchors; 2]);
        Ok(losses)
    }

    /// Detections of each image by falling score, in the pixels of the batch.
    ///
    /// # Errors
    /// If the lists of the batch disagree, or the results can't be read back.
    pub fn predict(&self, batch: &ImageBatch) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        blocking(self.predict_by(HostRead::Blocking, batch))
    }

    pub(crate) async fn predict_by(
        &self,
        how: HostRead,
        batch: &ImageBatch,
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        check_images(batch)?;
        let features = self.backbone.forward(batch.images.clone());
        let output = self.rpn.forward(&features, padded_size(&batch.images));
        let limits = self.rpn.config().test;
        let proposals = self.rpn.proposals_by(how, &output, &batch.sizes, limits).await?;
        let features = &features[..self.num_pooled_levels];
        self.roi_heads.detect_by(how, features, proposals, &batch.sizes).await
    }
}

fn padded_size(images: &Tensor<4>) -> [usize; 2] {
    let [_, _, height, width] = images.dims();
    [height, width]
}
