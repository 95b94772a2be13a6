//! Detectors of a few channels, and two images for them.
#![allow(dead_code, reason = "every test binary uses a part")]

use burn::tensor::Device;
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig as Loss, CrossEntropyConfig, EqualizationConfig,
};
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, CascadeRcnnConfig, Detector,
    DetectorBackboneConfig, DetectorConfig, FasterRcnnConfig, FpnConfig, MaskHeadConfig,
    MaskRcnnConfig, NormConfig, ProposalLimits, RoiSamplingConfig, RpnConfig, StepKey,
};
use longtail_ops::ImageBatch;
use longtail_types::{BBox, ClassCounts, Instance, Mask, TailRule};

use crate::common::tensor;

pub(crate) const KEY: StepKey = StepKey { seed: 5, step: 3, first_image: 0 };
pub(crate) const HEIGHT: usize = 64;
pub(crate) const WIDTH: usize = 96;

pub(crate) fn backbone() -> DetectorBackboneConfig {
    let backbone = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    DetectorBackboneConfig { base_width: 8, norm: NormConfig::group(4), ..backbone }
}

pub(crate) fn rpn() -> RpnConfig {
    let limits = ProposalLimits { before_nms: 60, after_nms: 40 };
    RpnConfig {
        anchor_sizes: [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size]).into(),
        anchors_per_image: 32,
        train: limits,
        test: limits,
        ..Default::default()
    }
}

pub(crate) fn box_head() -> BoxHeadConfig {
    let layers = BoxLayersConfig::TwoFc { width: 16 };
    BoxHeadConfig { pooled_size: 3, layers, ..Default::default() }
}

pub(crate) fn mask_head() -> MaskHeadConfig {
    MaskHeadConfig { pooled_size: 4, num_convs: 2, channels: 8, ..Default::default() }
}

pub(crate) fn mask_rcnn() -> MaskRcnnConfig {
    MaskRcnnConfig {
        backbone: backbone(),
        fpn: FpnConfig { channels: 8, ..Default::default() },
        rpn: rpn(),
        rois: RoiSamplingConfig { per_image: 16, ..Default::default() },
        box_head: box_head(),
        mask_head: mask_head(),
        ..Default::default()
    }
}

pub(crate) fn faster_rcnn() -> FasterRcnnConfig {
    let MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, .. } =
        mask_rcnn();
    let faster = FasterRcnnConfig::default();
    FasterRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, ..faster }
}

pub(crate) fn cascade_rcnn() -> CascadeRcnnConfig {
    let MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, mask_head, detection, .. } =
        mask_rcnn();
    let mask_head = Some(mask_head);
    let cascade = CascadeRcnnConfig::default();
    CascadeRcnnConfig { backbone, fpn, rpn, rois, box_head, mask_head, detection, ..cascade }
}

/// Images of two sizes; the second is padded.
pub(crate) fn batch(device: &Device) -> ImageBatch {
    let images = tensor("images", [2, 3, HEIGHT, WIDTH], device);
    ImageBatch { images, sizes: vec![[HEIGHT, WIDTH], [50, 70]] }
}

pub(crate) fn object(label: usize, bbox: [f32; 4]) -> Instance {
    let bbox = BBox::from(bbox);
    let [left, top, right, bottom] = bbox.to_array().map(|v| v as usize);
    let size = [bottom - top, right - left];
    let mask = Mask::new([left, top], size, vec![true; size[0] * size[1]]);
    Instance { label, bbox, mask }
}

pub(crate) fn objects(num_classes: usize) -> Vec<Instance> {
    let last = num_classes - 1;
    vec![object(0, [4.0, 6.0, 30.0, 40.0]), object(last, [40.0, 10.0, 64.0, 45.0])]
}

/// Class `j` is in `10 (j + 1)` images; the first is tail.
pub(crate) fn make(loss: &Loss, num_classes: usize, device: &Device) -> ClassificationLoss {
    let counts: Vec<u64> = (1..=num_classes as u64).map(|j| 10 * j).collect();
    let counts = ClassCounts::new(counts.clone(), counts, 1000).unwrap();
    loss.init(&counts, device).unwrap()
}

pub(crate) fn softmax() -> Loss {
    Loss::CrossEntropy(CrossEntropyConfig { background: true })
}

pub(crate) fn eql() -> Loss {
    let tail = TailRule::ImageCountAtMost(10);
    Loss::Equalization(EqualizationConfig { tail, ..Default::default() })
}

pub(crate) fn detector(config: &DetectorConfig, loss: &Loss, num_classes: usize) -> Detector {
    let device = longtail_testing::device().autodiff();
    config.init(make(loss, num_classes, &device), 1, &device).unwrap()
}
