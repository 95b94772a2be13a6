//! Detections after non-maximum suppression, and three training steps, of three detectors.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use longtail_kernels::{host_reads, read_floats};
use longtail_losses::{ClassificationLossConfig, EqualizationConfig};
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, DetectionConfig, Detector,
    DetectorBackboneConfig, DetectorConfig, FasterRcnnConfig, FpnConfig, MaskHeadConfig,
    MaskRcnnConfig, NormConfig, ProposalLimits, RetinaNetConfig, RoiSamplingConfig, RpnConfig,
    StepKey,
};
use longtail_ops::ImageBatch;
use longtail_training::OptimizerConfig;
use longtail_types::{BBox, ClassCounts, Instance, Mask, TailRule};

use super::classifier::NUM_STEPS;
use super::parameters::{filled, record_gradients, record_weights};
use crate::case::{Case, Found, Output, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::tensor;

const SIZE: [usize; 2] = [64, 96];
const LR: f64 = 1e-3;

type Named = (&'static str, fn() -> DetectorConfig);

pub(crate) fn cases() -> Vec<Case> {
    let detectors: [Named; 3] =
        [("Faster R-CNN", faster_rcnn), ("Mask R-CNN", mask_rcnn), ("RetinaNet", retinanet)];
    let cases = detectors.into_iter().flat_map(|(name, config)| {
        [
            Case::network(format!("{name}, detections"), move |device, record, draw| {
                detect(&config(), device, record, draw)
            }),
            Case::network(format!("{name}, three steps"), move |device, record, draw| {
                train(&config(), device, record, draw)
            }),
        ]
    });
    cases.collect()
}

/// A backbone of few channels; group norm does not care for the size of a batch.
fn backbone() -> DetectorBackboneConfig {
    let backbone = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    DetectorBackboneConfig { base_width: 8, norm: NormConfig::group(4), ..backbone }
}

/// Every anchor and region is in the losses, so that no draw depends on the order of proposals.
fn mask_rcnn_config() -> MaskRcnnConfig {
    let limits = ProposalLimits { before_nms: 60, after_nms: 30 };
    MaskRcnnConfig {
        backbone: backbone(),
        fpn: FpnConfig { channels: 8, ..Default::default() },
        rpn: RpnConfig {
            anchor_sizes: [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size]).into(),
            anchors_per_image: 1_000_000,
            train: limits,
            test: limits,
            ..Default::default()
        },
        rois: RoiSamplingConfig { per_image: 1_000_000, ..Default::default() },
        box_head: BoxHeadConfig {
            pooled_size: 3,
            layers: BoxLayersConfig::TwoFc { width: 16 },
            ..Default::default()
        },
        mask_head: MaskHeadConfig {
            pooled_size: 4,
            num_convs: 1,
            channels: 8,
            ..Default::default()
        },
        detection: DetectionConfig {
            score_threshold: 0.0,
            max_per_image: 20,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn mask_rcnn() -> DetectorConfig {
    DetectorConfig::MaskRcnn(mask_rcnn_config())
}

fn faster_rcnn() -> DetectorConfig {
    let MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, .. } =
        mask_rcnn_config();
    let faster = FasterRcnnConfig::default();
    let config =
        FasterRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, ..faster };
    DetectorConfig::FasterRcnn(config)
}

fn retinanet() -> DetectorConfig {
    let mut config = RetinaNetConfig { backbone: backbone(), ..Default::default() };
    config.fpn.channels = 8;
    config.head.num_convs = 1;
    config.anchor_sizes = [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size]).into();
    config.detection.score_threshold = 0.0;
    config.detection.max_per_image = 20;
    DetectorConfig::RetinaNet(config)
}

fn detector(
    config: &DetectorConfig,
    device: &Device,
    draw: usize,
) -> Result<Detector, ConformanceError> {
    let counts: Vec<u64> = vec![400, 200, 90, 30, 8];
    let counts = ClassCounts::new(counts.clone(), counts, 1000)?;
    let tail = TailRule::ImageCountAtMost(10);
    let loss = EqualizationConfig { tail, ..Default::default() };
    let loss = ClassificationLossConfig::Equalization(loss).init(&counts, device)?;
    Ok(filled(config.init(loss, 3, device)?, draw))
}

/// Two images, the second padded.
fn images(step: usize, device: &Device, draw: usize) -> ImageBatch {
    let images = tensor(&format!("images {step} of draw {draw}"), [2, 3, SIZE[0], SIZE[1]], device);
    ImageBatch { images, sizes: vec![SIZE, [50, 70]] }
}

/// The second image has no object.
fn objects() -> [Vec<Instance>; 2] {
    let object = |label: usize, bbox: [f32; 4]| {
        let [left, top, right, bottom] = bbox.map(|v| v as usize);
        let size = [bottom - top, right - left];
        let pixels = (0..size[0] * size[1]).map(|pixel| pixel % size[1] > 3).collect();
        let mask = Mask::new([left, top], size, pixels);
        Instance { label, bbox: BBox::from(bbox), mask }
    };
    [vec![object(0, [4.0, 6.0, 30.0, 40.0]), object(4, [40.0, 10.0, 64.0, 45.0])], Vec::new()]
}

fn detect(
    config: &DetectorConfig,
    device: &Device,
    record: &mut Record,
    draw: usize,
) -> Result<(), ConformanceError> {
    let detector = detector(config, device, draw)?.valid();
    let found = detector.predict(&images(0, device, draw))?.into_iter().enumerate();
    let found = found.flat_map(|(image, found)| {
        found.into_iter().map(move |one| Found {
            image,
            label: one.label,
            score: one.score,
            bbox: one.bbox.to_array(),
            mask: one.mask.unwrap_or_default(),
        })
    });
    record.push(Quantity::Detections, Output::Detections(found.collect()));
    Ok(())
}

fn train(
    config: &DetectorConfig,
    device: &Device,
    record: &mut Record,
    draw: usize,
) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let mut detector = detector(config, device, draw)?;
    let mut optimizer = OptimizerConfig::sgd(LR).init();
    for step in 0..NUM_STEPS {
        let batch = images(step, device, draw);
        let before = host_reads();
        let key = StepKey { seed: 1, step: step as u64, first_image: 0 };
        let losses = detector.losses(&batch, &objects(), key)?;
        let total = losses.total();
        let parts = Tensor::cat(losses.losses.into_iter().map(|(_, loss)| loss).collect(), 0);
        let gradients = GradientsParams::from_grads(total.backward(), &detector);
        let parts = read_floats(parts)?;
        let mut reads = host_reads() - before;
        if step == 0 {
            record_gradients(&detector, &gradients, record)?;
        }
        let before = host_reads();
        detector = optimizer.step(LR, detector, gradients);
        detector.apply(losses.updates)?;
        reads += host_reads() - before;
        let quantity = if step == 0 { Quantity::Forward } else { Quantity::Losses };
        record.values(quantity, parts);
        record.push(Quantity::HostReads, Output::Count(reads));
    }
    Ok(record_weights(&detector, record)?)
}
