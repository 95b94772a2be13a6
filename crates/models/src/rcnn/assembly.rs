//! A two-stage detector from the configurations of its parts.

use longtail_losses::ClassificationLoss;
use longtail_ops::{BalancedSampler, BoxCoder, Matcher};

use crate::detector_input::check_background;
use crate::error::ModelError;
use crate::fpn::{FpnConfig, PyramidLevels};
use crate::held_loss::HeldLoss;
use crate::rcnn::box_predictor::{BoxPredictor, num_class_groups};
use crate::rcnn::box_stage::{BoxStage, StageRule};
use crate::rcnn::check::{check_fraction, check_ious, check_positive};
use crate::rcnn::config::{BoxHeadConfig, BoxTargetConfig, RoiSamplingConfig};
use crate::rcnn::detections::DetectionConfig;
use crate::rcnn::feature_memory::FeatureMemoryConfig;
use crate::rcnn::mask_head::MaskHeadConfig;
use crate::rcnn::pooling::{PoolingConfig, pooled_strides};
use crate::rcnn::roi_heads::RoiHeads;
use crate::rcnn::rpn::RpnConfig;
use crate::rcnn::two_stage::RCnn;
use crate::resnet_fpn::DetectorBackboneConfig;
use crate::weight_init::WeightInit;

/// What the three have in common.
pub(crate) struct Parts<'a> {
    pub(crate) backbone: &'a DetectorBackboneConfig,
    pub(crate) fpn: &'a FpnConfig,
    pub(crate) rpn: &'a RpnConfig,
    pub(crate) rois: &'a RoiSamplingConfig,
    pub(crate) box_head: &'a BoxHeadConfig,
    /// One per stage.
    pub(crate) targets: &'a [BoxTargetConfig],
    pub(crate) memory: Option<FeatureMemoryConfig>,
    pub(crate) mask_head: Option<&'a MaskHeadConfig>,
    pub(crate) detection: &'a DetectionConfig,
}

impl Parts<'_> {
    pub(crate) fn init(
        self,
        loss: ClassificationLoss,
        init: &WeightInit,
    ) -> Result<RCnn, ModelError> {
        check_background(loss.layout())?;
        check_positive("rois.per_image", self.rois.per_image)?;
        check_fraction("rois.positive_fraction", self.rois.positive_fraction)?;
        self.detection.check()?;
        let levels = PyramidLevels::P2ToP6;
        let backbone = self.backbone.init(self.fpn, levels, &init.child("backbone"))?;
        let (channels, levels) = (backbone.fpn.channels(), backbone.fpn.levels());
        let rpn = self.rpn.init(channels, levels.count(), &init.child("rpn"))?;
        let strides = &pooled_strides(levels);
        let init = init.child("roi_heads");
        let stages = (0..self.targets.len()).map(|index| {
            let init = init.child("stages").child(&index.to_string());
            self.stage(index, loss.clone(), channels, strides, &init)
        });
        let stages = stages.collect::<Result<_, _>>()?;
        let masks = self.mask_head.map(|config| {
            config.init(channels, num_class_groups(&loss), strides, &init.child("masks"))
        });
        let sampler = BalancedSampler {
            num: self.rois.per_image,
            positive_fraction: self.rois.positive_fraction,
        };
        let detection = *self.detection;
        let memory = self.memory.map(|config| match &loss {
            ClassificationLoss::Equilibrium(_) => config.init(loss.num_classes()),
            _ => Err(ModelError::MemoryWithoutScores { loss: loss.layout().method() }),
        });
        let (masks, memory) = (masks.transpose()?, memory.transpose()?);
        let roi_heads = RoiHeads { stages, masks, memory, sampler, detection };
        Ok(RCnn::new(backbone, rpn, roi_heads, strides.len()))
    }

    fn stage(
        &self,
        index: usize,
        loss: ClassificationLoss,
        channels: usize,
        strides: &[usize],
        init: &WeightInit,
    ) -> Result<BoxStage, ModelError> {
        let (config, targets) = (self.box_head, self.targets[index]);
        check_positive("box_head.pooled_size", config.pooled_size)?;
        check_ious("box_targets.positive_iou", targets.positive_iou, targets.positive_iou)?;
        let is_usable = |weight: &f32| weight.is_finite() && *weight > 0.0;
        if !targets.weights.iter().all(is_usable) {
            let (name, value) = ("box_targets.weights", format!("{:?}", targets.weights));
            return Err(ModelError::InvalidValue { name, value, expected: "positive" });
        }
        let layers = &config.layers;
        let num_groups = if targets.class_agnostic { 1 } else { num_class_groups(&loss) };
        let box_head = layers.init(channels, config.pooled_size, &init.child("box_head"))?;
        let init = init.child("box_predictor");
        let box_predictor =
            BoxPredictor::new(&config.classifier, layers.width(), num_groups, &loss, &init)?;
        let pooling = PoolingConfig {
            size: config.pooled_size,
            sampling_ratio: config.sampling_ratio,
            aligned: config.aligned,
        };
        let rule = StageRule {
            aligner: pooling.aligner(strides),
            coder: BoxCoder::new(targets.weights),
            matcher: Matcher::proposals(targets.positive_iou),
            smooth_l1_beta: config.smooth_l1_beta,
            is_class_specific: !targets.class_agnostic,
            gradient_share: 1.0 / self.targets.len() as f32,
        };
        Ok(BoxStage { box_head, box_predictor, loss: HeldLoss::new(loss), rule })
    }
}
