//! Which detector, and its settings.

use burn::tensor::Device;
use longtail_losses::ClassificationLoss;
use serde::{Deserialize, Serialize};

use crate::detector::Detector;
use crate::error::ModelError;
use crate::rcnn::{CascadeRcnnConfig, FasterRcnnConfig, MaskRcnnConfig};
use crate::retinanet_config::RetinaNetConfig;
use crate::weight_init::WeightInit;

/// Which detector: `kind = "faster-rcnn" | "mask-rcnn" | "cascade-rcnn" | "retinanet"`, with a
/// table for each of its parts. Defaults are torchvision's; unknown keys are errors.
#[allow(clippy::large_enum_variant, reason = "a program has one or two of them")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DetectorConfig {
    /// Two stages, boxes.
    FasterRcnn(FasterRcnnConfig),
    /// Two stages, boxes and masks.
    MaskRcnn(MaskRcnnConfig),
    /// Three box heads in a row, with or without masks.
    CascadeRcnn(CascadeRcnnConfig),
    /// One stage, boxes.
    #[serde(rename = "retinanet")]
    RetinaNet(RetinaNetConfig),
}

impl DetectorConfig {
    /// Makes the detector with the first weights of `seed`. The loss decides the number of classes,
    /// the columns of the classifier and its first bias. On an autodiff device it is ready to train.
    ///
    /// # Errors
    /// If a value is out of range, or the loss does not tell background from objects.
    pub fn init(
        &self,
        loss: ClassificationLoss,
        seed: u64,
        device: &Device,
    ) -> Result<Detector, ModelError> {
        let init = &WeightInit::new(seed, device);
        Ok(match self {
            Self::FasterRcnn(config) => Detector::RCnn(config.init(loss, init)?),
            Self::MaskRcnn(config) => Detector::RCnn(config.init(loss, init)?),
            Self::CascadeRcnn(config) => Detector::RCnn(config.init(loss, init)?),
            Self::RetinaNet(config) => Detector::RetinaNet(config.init(loss, init)?),
        })
    }

    /// The same detector without a memory of features.
    #[must_use]
    pub fn without_feature_memory(mut self) -> Self {
        match &mut self {
            Self::FasterRcnn(config) => config.feature_memory = None,
            Self::MaskRcnn(config) => config.feature_memory = None,
            Self::CascadeRcnn(_) | Self::RetinaNet(_) => {}
        }
        self
    }

    /// The name in recipes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FasterRcnn(_) => "faster-rcnn",
            Self::MaskRcnn(_) => "mask-rcnn",
            Self::CascadeRcnn(_) => "cascade-rcnn",
            Self::RetinaNet(_) => "retinanet",
        }
    }

    /// Whether the detector predicts masks, so that objects need them.
    pub fn has_masks(&self) -> bool {
        match self {
            Self::MaskRcnn(_) => true,
            Self::CascadeRcnn(config) => config.mask_head.is_some(),
            Self::FasterRcnn(_) | Self::RetinaNet(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<DetectorConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn defaults_need_no_tables() {
        let faster = parse(r#"{"kind": "faster-rcnn"}"#).unwrap();
        assert_eq!(faster, DetectorConfig::FasterRcnn(Default::default()));
        for kind in ["faster-rcnn", "mask-rcnn", "cascade-rcnn", "retinanet"] {
            let config = parse(&format!(r#"{{"kind": "{kind}"}}"#)).unwrap();
            assert_eq!(config.name(), kind);
            assert_eq!(config.has_masks(), kind == "mask-rcnn");
            let json = serde_json::to_string(&config).unwrap();
            assert!(json.starts_with(&format!(r#"{{"kind":"{kind}""#)), "{json}");
            assert_eq!(parse(&json).unwrap(), config);
        }
    }

    #[test]
    fn tables_are_strict_and_partial() {
        let json = r#"{"kind": "mask-rcnn", "rpn": {"test": {"before_nms": 500, "after_nms": 50}},
            "box_head": {"layers": {"kind": "conv-fc"}}, "detection": {"score_threshold": 0.0001}}"#;
        let DetectorConfig::MaskRcnn(config) = parse(json).unwrap() else { panic!("mask-rcnn") };
        assert_eq!((config.rpn.test.after_nms, config.rpn.train.after_nms), (50, 2000));
        assert_eq!(config.detection.score_threshold, 1e-4);
        assert_eq!(config.detection.max_per_image, 100);
        let refused = |json: &str| parse(json).unwrap_err().to_string();
        let message = refused(r#"{"kind": "faster-rcnn", "mask_head": {}}"#);
        assert!(message.contains("mask_head"), "{message}");
        assert!(refused(r#"{"kind": "faster-rcnn", "rpn": {"nms": 1}}"#).contains("nms"));
        assert!(refused(r#"{"kind": "yolo"}"#).contains("yolo"));
    }
}
