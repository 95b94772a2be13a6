//! Published weights by name.

use longtail_types::{ChannelOrder, Preprocess, ResizeRule};

use crate::backbone::BackboneConfig;
use crate::class_slots::LabelTable;
use crate::detector_config::DetectorConfig;
use crate::error::ModelError;
use crate::fpn::{FpnConfig, PyramidLevels};
use crate::norm::NormConfig;
use crate::rcnn::{
    BoxHeadConfig, BoxLayersConfig, FasterRcnnConfig, MaskHeadConfig, MaskRcnnConfig, RpnConfig,
};
use crate::resnet_fpn::DetectorBackboneConfig;
use crate::retinanet_config::RetinaNetConfig;
use crate::retinanet_head::RetinaNetHeadConfig;

/// Which network a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightTarget {
    /// A classifier of ImageNet's 1000 classes; the backbone of any detector.
    Classifier(BackboneConfig),
    /// A detector of COCO with a ResNet-50: see [`WeightSet::detector`].
    Detector(CocoDetector),
}

/// torchvision's COCO detectors with a ResNet-50 and a feature pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CocoDetector {
    /// `fasterrcnn_resnet50_fpn`
    FasterRcnn,
    /// `maskrcnn_resnet50_fpn`
    MaskRcnn,
    /// `retinanet_resnet50_fpn`
    RetinaNet,
    /// `fasterrcnn_resnet50_fpn_v2`
    FasterRcnnV2,
    /// `maskrcnn_resnet50_fpn_v2`
    MaskRcnnV2,
    /// `retinanet_resnet50_fpn_v2`
    RetinaNetV2,
}

/// A weight file that is published, with what belongs to it: network, normalisation, labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightSet {
    /// Our name, `faster-rcnn-resnet50-fpn-coco`.
    pub name: &'static str,
    /// Where its publisher has it.
    pub url: &'static str,
    /// Which network it is for.
    pub target: WeightTarget,
}

const fn classifier(name: &'static str, url: &'static str, backbone: BackboneConfig) -> WeightSet {
    WeightSet { name, url, target: WeightTarget::Classifier(backbone) }
}

const fn detector(name: &'static str, url: &'static str, detector: CocoDetector) -> WeightSet {
    WeightSet { name, url, target: WeightTarget::Detector(detector) }
}

macro_rules! torchvision {
    ($file:literal) => {
        concat!("https://download.pytorch.org/models/", $file, ".pth")
    };
}

/// torchvision 0.29's table.
#[rustfmt::skip]
const SETS: [WeightSet; 18] = [
    classifier("resnet18-imagenet-v1", torchvision!("resnet18-f37072fd"), BackboneConfig::ResNet18),
    classifier("resnet34-imagenet-v1", torchvision!("resnet34-b627a593"), BackboneConfig::ResNet34),
    classifier("resnet50-imagenet-v1", torchvision!("resnet50-0676ba61"), BackboneConfig::ResNet50),
    classifier("resnet50-imagenet-v2", torchvision!("resnet50-11ad3fa6"), BackboneConfig::ResNet50),
    classifier("resnet101-imagenet-v1", torchvision!("resnet101-63fe2227"), BackboneConfig::ResNet101),
    classifier("resnet101-imagenet-v2", torchvision!("resnet101-cd907fc2"), BackboneConfig::ResNet101),
    classifier("resnet152-imagenet-v1", torchvision!("resnet152-394f9c45"), BackboneConfig::ResNet152),
    classifier("resnet152-imagenet-v2", torchvision!("resnet152-f82ba261"), BackboneConfig::ResNet152),
    classifier("resnext50-32x4d-imagenet-v1", torchvision!("resnext50_32x4d-7cdf4587"), BackboneConfig::ResNeXt50),
    classifier("resnext50-32x4d-imagenet-v2", torchvision!("resnext50_32x4d-1a0047aa"), BackboneConfig::ResNeXt50),
    classifier("resnext101-32x8d-imagenet-v1", torchvision!("resnext101_32x8d-8ba56ff5"), BackboneConfig::ResNeXt101),
    classifier("resnext101-32x8d-imagenet-v2", torchvision!("resnext101_32x8d-110c445d"), BackboneConfig::ResNeXt101),
    detector("faster-rcnn-resnet50-fpn-coco", torchvision!("fasterrcnn_resnet50_fpn_coco-258fb6c6"), CocoDetector::FasterRcnn),
    detector("mask-rcnn-resnet50-fpn-coco", torchvision!("maskrcnn_resnet50_fpn_coco-bf2d0c1e"), CocoDetector::MaskRcnn),
    detector("retinanet-resnet50-fpn-coco", torchvision!("retinanet_resnet50_fpn_coco-eeacb38b"), CocoDetector::RetinaNet),
    detector("faster-rcnn-resnet50-fpn-v2-coco", torchvision!("fasterrcnn_resnet50_fpn_v2_coco-dd69338a"), CocoDetector::FasterRcnnV2),
    detector("mask-rcnn-resnet50-fpn-v2-coco", torchvision!("maskrcnn_resnet50_fpn_v2_coco-73cbd019"), CocoDetector::MaskRcnnV2),
    detector("retinanet-resnet50-fpn-v2-coco", torchvision!("retinanet_resnet50_fpn_v2_coco-5905b1c5"), CocoDetector::RetinaNetV2),
];

impl WeightSet {
    /// Every set there is.
    pub const ALL: &[Self] = &SETS;

    /// The set of this name.
    ///
    /// # Errors
    /// If there is none; the message lists those that there are.
    pub fn named(name: &str) -> Result<Self, ModelError> {
        let found = Self::ALL.iter().find(|set| set.name == name).copied();
        found.ok_or_else(|| ModelError::UnknownWeightSet { name: name.to_owned() })
    }

    /// Name of the file, the last part of the URL.
    pub fn file_name(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }

    /// The first eight hexadecimal digits of the file's SHA-256, which stand in its name. The whole
    /// digest is not published.
    pub fn sha256_prefix(&self) -> &'static str {
        let stem = self.file_name().trim_end_matches(".pth");
        stem.rsplit('-').next().unwrap_or(stem)
    }

    /// What the network expects of its input: RGB by ImageNet's mean and deviation. Detectors want
    /// the shorter side at 800 and the longer at most 1333; classifiers leave the size to the task.
    pub fn preprocess(&self) -> Preprocess {
        let resize = match self.target {
            WeightTarget::Classifier(_) => ResizeRule::None,
            WeightTarget::Detector(_) => ResizeRule::ShortestEdge { min: 800, max: 1333 },
        };
        Preprocess { channel_order: ChannelOrder::Rgb, resize, ..Default::default() }
    }

    /// What the norms of the backbone add to the variance: 0 in torchvision's first COCO detectors,
    /// which were trained so, else 1e-5.
    pub fn norm_epsilon(&self) -> f64 {
        use CocoDetector::{FasterRcnn, MaskRcnn, RetinaNet};
        match self.target {
            WeightTarget::Detector(FasterRcnn | MaskRcnn | RetinaNet) => 0.0,
            _ => 1e-5,
        }
    }

    /// The labels of the file.
    pub fn labels(&self) -> LabelTable {
        match self.target {
            WeightTarget::Classifier(_) => LabelTable::Same,
            WeightTarget::Detector(_) => LabelTable::Coco91,
        }
    }

    /// The detector that the file is for, its norms' epsilon included; `None` for a classifier's.
    /// It takes a loss of 80 classes ([`Coco91`](crate::Coco91)): cross-entropy with background, or
    /// focal for RetinaNet.
    pub fn detector(&self) -> Option<DetectorConfig> {
        let WeightTarget::Detector(detector) = self.target else { return None };
        let norm = match detector {
            CocoDetector::FasterRcnn | CocoDetector::MaskRcnn | CocoDetector::RetinaNet => {
                NormConfig::frozen().with_epsilon(self.norm_epsilon())
            }
            _ => NormConfig::batch(),
        };
        let backbone = DetectorBackboneConfig { norm, ..Default::default() };
        let batch = Some(NormConfig::batch());
        let fpn = FpnConfig { norm: batch.clone(), ..Default::default() };
        let rpn = RpnConfig { num_convs: 2, ..Default::default() };
        let layers = BoxLayersConfig::ConvFc {
            num_convs: 4,
            channels: 256,
            width: 1024,
            norm: batch.clone(),
        };
        let box_head = BoxHeadConfig { layers, ..Default::default() };
        let mask_head = MaskHeadConfig { norm: batch, ..Default::default() };
        Some(match detector {
            CocoDetector::FasterRcnn => {
                DetectorConfig::FasterRcnn(FasterRcnnConfig { backbone, ..Default::default() })
            }
            CocoDetector::MaskRcnn => {
                DetectorConfig::MaskRcnn(MaskRcnnConfig { backbone, ..Default::default() })
            }
            CocoDetector::RetinaNet => {
                DetectorConfig::RetinaNet(RetinaNetConfig { backbone, ..Default::default() })
            }
            CocoDetector::FasterRcnnV2 => DetectorConfig::FasterRcnn(FasterRcnnConfig {
                backbone,
                fpn,
                rpn,
                box_head,
                ..Default::default()
            }),
            CocoDetector::MaskRcnnV2 => DetectorConfig::MaskRcnn(MaskRcnnConfig {
                backbone,
                fpn,
                rpn,
                box_head,
                mask_head,
                ..Default::default()
            }),
            CocoDetector::RetinaNetV2 => DetectorConfig::RetinaNet(RetinaNetConfig {
                backbone,
                fpn: FpnConfig { levels: Some(PyramidLevels::P3ToP7FromC5), ..Default::default() },
                head: RetinaNetHeadConfig {
                    norm: Some(NormConfig::group(32)),
                    ..Default::default()
                },
                ..Default::default()
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_names_and_digests() {
        for set in WeightSet::ALL {
            assert_eq!(WeightSet::named(set.name).unwrap(), *set);
            let prefix = set.sha256_prefix();
            assert!(prefix.len() == 8 && prefix.bytes().all(|b| b.is_ascii_hexdigit()), "{prefix}");
            let same_file = WeightSet::ALL.iter().filter(|other| other.url == set.url);
            assert_eq!(same_file.count(), 1, "{}", set.url);
            let is_detector = matches!(set.target, WeightTarget::Detector(_));
            assert_eq!(set.detector().is_some(), is_detector);
            assert_eq!(set.labels() == LabelTable::Coco91, is_detector);
        }
        let set = WeightSet::named("retinanet-resnet50-fpn-coco").unwrap();
        assert_eq!(set.file_name(), "retinanet_resnet50_fpn_coco-eeacb38b.pth");
        let Some(DetectorConfig::RetinaNet(config)) = set.detector() else { panic!("retinanet") };
        assert_eq!(config.backbone.norm, NormConfig::Frozen { epsilon: 0.0 });
        assert_eq!(set.preprocess(), Preprocess::default());
        let message = WeightSet::named("resnet50").unwrap_err().to_string();
        let expected = "unknown weight set \"resnet50\"; there are resnet18-imagenet-v1, ";
        assert!(message.starts_with(expected), "{message}");
    }
}
