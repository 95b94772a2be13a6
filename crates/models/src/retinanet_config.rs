//! Configuration of RetinaNet.

use longtail_losses::ClassificationLoss;
use longtail_ops::AnchorGenerator;
use serde::{Deserialize, Serialize};

use crate::detector_input::check_background;
use crate::error::ModelError;
use crate::fpn::{FpnConfig, PyramidLevels};
use crate::held_loss::HeldLoss;
use crate::rcnn::check::check_ious;
use crate::resnet_fpn::DetectorBackboneConfig;
use crate::retinanet::RetinaNet;
use crate::retinanet_detections::RetinaNetDetectionConfig;
use crate::retinanet_head::RetinaNetHeadConfig;
use crate::weight_init::WeightInit;

/// Configuration of [`RetinaNet`]. Defaults: torchvision's `retinanet_resnet50_fpn`, whose loss is
/// the focal loss with its own defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetinaNetConfig {
    /// Images to maps.
    pub backbone: DetectorBackboneConfig,
    /// Maps to a pyramid. Default levels: `p3-p7`.
    pub fpn: FpnConfig,
    /// Layers on the pyramid.
    pub head: RetinaNetHeadConfig,
    /// Anchor sizes of each level in pixels, equally many. Default: 32, 40, 50 on the first level,
    /// and doubled from level to level, each cut to whole pixels.
    pub anchor_sizes: Vec<Vec<f32>>,
    /// Height over width of the anchors, for every size. Default: 0.5, 1, 2.
    pub aspect_ratios: Vec<f32>,
    /// An anchor that overlaps an object by at least this IoU is positive. Default: 0.5. So is the
    /// best anchor of an object that none overlaps as much.
    pub positive_iou: f32,
    /// An anchor below this IoU with every object is negative; between the two it is ignored.
    /// Default: 0.4.
    pub negative_iou: f32,
    /// Difference at which the box loss turns from square to linear. Default: 0, the L1 loss.
    pub smooth_l1_beta: f32,
    /// Which anchors become detections.
    pub detection: RetinaNetDetectionConfig,
}

impl Default for RetinaNetConfig {
    fn default() -> Self {
        let octave =
            |size: f64| [0.0, 1.0, 2.0].map(|third| (size * f64::exp2(third / 3.0)) as u32);
        let sizes = [32.0, 64.0, 128.0, 256.0, 512.0].map(|size| octave(size).map(|s| s as f32));
        Self {
            backbone: DetectorBackboneConfig::default(),
            fpn: FpnConfig::default(),
            head: RetinaNetHeadConfig::default(),
            anchor_sizes: sizes.map(Vec::from).into(),
            aspect_ratios: vec![0.5, 1.0, 2.0],
            positive_iou: 0.5,
            negative_iou: 0.4,
            smooth_l1_beta: 0.0,
            detection: RetinaNetDetectionConfig::default(),
        }
    }
}

impl RetinaNetConfig {
    /// Makes the detector. The loss decides the number of classes, the channels of the classifier
    /// and its first bias.
    ///
    /// # Errors
    /// If a value is out of range, the anchors do not fit the pyramid, or the loss does not tell
    /// background from objects.
    pub fn init(
        &self,
        loss: ClassificationLoss,
        init: &WeightInit,
    ) -> Result<RetinaNet, ModelError> {
        check_background(loss.layout())?;
        check_ious("negative_iou", self.negative_iou, self.positive_iou)?;
        self.detection.check()?;
        if !(self.smooth_l1_beta.is_finite() && self.smooth_l1_beta >= 0.0) {
            let (name, value) = ("smooth_l1_beta", self.smooth_l1_beta.to_string());
            return Err(ModelError::InvalidValue {
                name,
                value,
                expected: "finite and at least 0",
            });
        }
        let levels = self.fpn.levels.unwrap_or(PyramidLevels::P3ToP7);
        let ratios = vec![self.aspect_ratios.clone(); self.anchor_sizes.len()];
        let anchors = AnchorGenerator::new(&self.anchor_sizes, &ratios)?;
        let num_anchors = anchors.num_anchors(0);
        let is_even = (1..anchors.num_levels()).all(|l| anchors.num_anchors(l) == num_anchors);
        if anchors.num_levels() != levels.count() || !is_even {
            let value = format!("{:?} for {} levels", self.anchor_sizes, levels.count());
            let expected = "one list per level of the pyramid, all of one length";
            return Err(ModelError::InvalidValue { name: "anchor_sizes", value, expected });
        }
        let backbone = self.backbone.init(&self.fpn, levels, &init.child("backbone"))?;
        let head = self.head.init(self.fpn.channels, num_anchors, &loss, &init.child("head"))?;
        Ok(RetinaNet { backbone, head, loss: HeldLoss::new(loss), anchors, config: self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_losses::{ClassificationLossConfig, FocalConfig};
    use longtail_types::ClassCounts;

    fn refused(config: &RetinaNetConfig) -> String {
        let device = longtail_testing::device();
        let loss = FocalConfig::default().init(3, &device).unwrap();
        let init = WeightInit::new(0, &device);
        config.init(ClassificationLoss::Focal(loss), &init).unwrap_err().to_string()
    }

    #[test]
    fn default_anchors_are_those_of_torchvision() {
        let config = RetinaNetConfig::default();
        let ratios = vec![config.aspect_ratios.clone(); 5];
        let anchors = AnchorGenerator::new(&config.anchor_sizes, &ratios).unwrap();
        assert_eq!(anchors, AnchorGenerator::retinanet());
        assert_eq!(config.anchor_sizes[0], [32.0, 40.0, 50.0]);
    }

    #[test]
    fn wrong_configurations_are_refused() {
        let config = RetinaNetConfig { positive_iou: 0.3, ..Default::default() };
        let message = refused(&config);
        assert!(message.starts_with("negative_iou = 0.4 below a positive IoU of 0.3"), "{message}");
        let config = RetinaNetConfig { anchor_sizes: vec![vec![8.0]; 4], ..Default::default() };
        assert!(refused(&config).contains("for 5 levels, but it must be one list per level"));
        let config = RetinaNetConfig { smooth_l1_beta: f32::NAN, ..Default::default() };
        assert!(refused(&config).starts_with("smooth_l1_beta = NaN"));
        let device = longtail_testing::device();
        let counts = ClassCounts::from_labels([0, 1], 2).unwrap();
        let loss = ClassificationLossConfig::default().init(&counts, &device).unwrap();
        let init = WeightInit::new(0, &device);
        let message = RetinaNetConfig::default().init(loss, &init).unwrap_err().to_string();
        assert!(message.starts_with("cross-entropy has no background"), "{message}");
    }

    #[test]
    fn tables_are_strict_and_partial() {
        let parse = |json: &str| serde_json::from_str::<RetinaNetConfig>(json);
        assert_eq!(parse("{}").unwrap(), RetinaNetConfig::default());
        let config = parse(r#"{"head": {"norm": {"kind": "group"}}, "fpn": {"channels": 64}}"#);
        let config = config.unwrap();
        assert_eq!((config.head.num_convs, config.fpn.channels, config.fpn.levels), (4, 64, None));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(parse(&json).unwrap(), config);
        assert!(parse(r#"{"heads": {}}"#).is_err());
    }
}
