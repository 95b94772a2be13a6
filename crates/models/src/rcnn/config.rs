//! Configurations of the two-stage detectors.

use longtail_losses::ClassificationLoss;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::fpn::FpnConfig;
use crate::head::HeadConfig;
use crate::rcnn::assembly::Parts;
use crate::rcnn::box_head::BoxLayersConfig;
use crate::rcnn::detections::DetectionConfig;
use crate::rcnn::feature_memory::FeatureMemoryConfig;
use crate::rcnn::mask_head::MaskHeadConfig;
use crate::rcnn::rpn::RpnConfig;
use crate::rcnn::two_stage::RCnn;
use crate::resnet_fpn::DetectorBackboneConfig;
use crate::weight_init::WeightInit;

/// Configuration of Faster R-CNN. Defaults: torchvision's `fasterrcnn_resnet50_fpn`.
///
/// Source: Ren et al., <https://arxiv.org/abs/1506.01497>, on a pyramid (Lin et al.,
/// <https://arxiv.org/abs/1612.03144>).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FasterRcnnConfig {
    /// Images to maps.
    pub backbone: DetectorBackboneConfig,
    /// Maps to a pyramid.
    pub fpn: FpnConfig,
    /// Pyramid to proposals.
    pub rpn: RpnConfig,
    /// Proposals in the losses.
    pub rois: RoiSamplingConfig,
    /// Proposals to vectors to logits.
    pub box_head: BoxHeadConfig,
    /// What the box head learns.
    pub box_targets: BoxTargetConfig,
    /// Regions of earlier images that join those of the batch (LOCE). Asks for the loss `loce`.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_memory: Option<FeatureMemoryConfig>,
    /// Logits to detections.
    pub detection: DetectionConfig,
}

/// Configuration of Mask R-CNN. Defaults: torchvision's `maskrcnn_resnet50_fpn`.
///
/// Source: He et al., <https://arxiv.org/abs/1703.06870>.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskRcnnConfig {
    /// Images to maps.
    pub backbone: DetectorBackboneConfig,
    /// Maps to a pyramid.
    pub fpn: FpnConfig,
    /// Pyramid to proposals.
    pub rpn: RpnConfig,
    /// Proposals in the losses.
    pub rois: RoiSamplingConfig,
    /// Proposals to vectors to logits.
    pub box_head: BoxHeadConfig,
    /// What the box head learns.
    pub box_targets: BoxTargetConfig,
    /// Regions of earlier images that join those of the batch (LOCE). Asks for the loss `loce`.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_memory: Option<FeatureMemoryConfig>,
    /// Boxes to masks.
    pub mask_head: MaskHeadConfig,
    /// Logits to detections.
    pub detection: DetectionConfig,
}

/// Configuration of Cascade R-CNN: three box heads, each on the boxes of the one before, with
/// class-agnostic boxes and rising IoU. Defaults: detectron2's on torchvision's parts.
///
/// Source: Cai and Vasconcelos, <https://arxiv.org/abs/1712.00726>. As in detectron2, later stages
/// keep all regions of the first one and match them anew, each stage passes a third of its gradient
/// to the pyramid, the scores of the stages are averaged, and masks learn from the first stage's
/// regions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CascadeRcnnConfig {
    /// Images to maps.
    pub backbone: DetectorBackboneConfig,
    /// Maps to a pyramid.
    pub fpn: FpnConfig,
    /// Pyramid to proposals.
    pub rpn: RpnConfig,
    /// Proposals in the losses.
    pub rois: RoiSamplingConfig,
    /// Layers of each box head.
    pub box_head: BoxHeadConfig,
    /// What each box head learns. Default: IoU 0.5, 0.6, 0.7 and weights `(10, 10, 5, 5)`,
    /// `(20, 20, 10, 10)`, `(30, 30, 15, 15)`.
    pub box_targets: [CascadeTargetConfig; 3],
    /// Boxes to masks. Default: no masks.
    pub mask_head: Option<MaskHeadConfig>,
    /// Logits to detections.
    pub detection: DetectionConfig,
}

impl Default for CascadeRcnnConfig {
    fn default() -> Self {
        let targets = |positive_iou: f32, scale: f32| {
            let weights = [10.0, 10.0, 5.0, 5.0].map(|weight| weight * scale);
            CascadeTargetConfig { positive_iou, weights }
        };
        Self {
            backbone: Default::default(),
            fpn: Default::default(),
            rpn: Default::default(),
            rois: Default::default(),
            box_head: Default::default(),
            box_targets: [targets(0.5, 1.0), targets(0.6, 2.0), targets(0.7, 3.0)],
            mask_head: None,
            detection: Default::default(),
        }
    }
}

/// How many proposals the losses of the heads see.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoiSamplingConfig {
    /// Proposals per image, the objects' own boxes among them. Default: 512.
    pub per_image: usize,
    /// Largest share of positives. Default: 0.25.
    pub positive_fraction: f64,
}

impl Default for RoiSamplingConfig {
    fn default() -> Self {
        Self { per_image: 512, positive_fraction: 0.25 }
    }
}

/// Layers of a box head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoxHeadConfig {
    /// Side of a pooled region. Default: 7.
    pub pooled_size: usize,
    /// Samples per bin and axis, 0 for as many as pixels. Default: 2.
    pub sampling_ratio: usize,
    /// Whether pooling shifts by half a pixel, as detectron2 does. Default: false, torchvision's.
    pub aligned: bool,
    /// Regions to vectors. Default: two fully connected layers of 1024.
    pub layers: BoxLayersConfig,
    /// Vectors to logits. Default: linear.
    pub classifier: HeadConfig,
    /// Difference at which the box loss turns from square to linear. Default: 1/9.
    pub smooth_l1_beta: f32,
}

impl Default for BoxHeadConfig {
    fn default() -> Self {
        Self {
            pooled_size: 7,
            sampling_ratio: 2,
            aligned: false,
            layers: Default::default(),
            classifier: Default::default(),
            smooth_l1_beta: 1.0 / 9.0,
        }
    }
}

/// What the box head of Faster and Mask R-CNN learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoxTargetConfig {
    /// A region that overlaps an object by at least this IoU is positive, others are background.
    /// Default: 0.5.
    pub positive_iou: f32,
    /// Scale of the offsets in x, y, width and height. Default: 10, 10, 5, 5.
    pub weights: [f32; 4],
    /// One box for all classes instead of one for each. Default: false.
    pub class_agnostic: bool,
}

impl Default for BoxTargetConfig {
    fn default() -> Self {
        Self { positive_iou: 0.5, weights: [10.0, 10.0, 5.0, 5.0], class_agnostic: false }
    }
}

/// What a box head of a cascade learns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeTargetConfig {
    /// A region that overlaps an object by at least this IoU is positive, others are background.
    pub positive_iou: f32,
    /// Scale of the offsets in x, y, width and height.
    pub weights: [f32; 4],
}

impl FasterRcnnConfig {
    /// Makes the detector; `init` is the root of its names.
    ///
    /// # Errors
    /// If a value is out of range, or the loss has no background.
    pub fn init(&self, loss: ClassificationLoss, init: &WeightInit) -> Result<RCnn, ModelError> {
        let Self { backbone, fpn, rpn, rois, box_head, detection, .. } = self;
        let (targets, memory) = (&[self.box_targets], self.feature_memory);
        let mask_head = None;
        Parts { backbone, fpn, rpn, rois, box_head, targets, memory, mask_head, detection }
            .init(loss, init)
    }
}

impl MaskRcnnConfig {
    /// Makes the detector; `init` is the root of its names.
    ///
    /// # Errors
    /// If a value is out of range, or the loss has no background.
    pub fn init(&self, loss: ClassificationLoss, init: &WeightInit) -> Result<RCnn, ModelError> {
        let Self { backbone, fpn, rpn, rois, box_head, mask_head, detection, .. } = self;
        let (targets, memory) = (&[self.box_targets], self.feature_memory);
        let mask_head = Some(mask_head);
        Parts { backbone, fpn, rpn, rois, box_head, targets, memory, mask_head, detection }
            .init(loss, init)
    }
}

impl CascadeRcnnConfig {
    /// Makes the detector; `init` is the root of its names. Each stage has its own copy of the loss.
    ///
    /// # Errors
    /// If a value is out of range, or the loss has no background.
    pub fn init(&self, loss: ClassificationLoss, init: &WeightInit) -> Result<RCnn, ModelError> {
        let Self { backbone, fpn, rpn, rois, box_head, box_targets, mask_head, detection } = self;
        let targets = &box_targets.map(|CascadeTargetConfig { positive_iou, weights }| {
            BoxTargetConfig { positive_iou, weights, class_agnostic: true }
        });
        let (mask_head, memory) = (mask_head.as_ref(), None);
        Parts { backbone, fpn, rpn, rois, box_head, targets, memory, mask_head, detection }
            .init(loss, init)
    }
}
