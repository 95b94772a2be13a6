//! Our side: the stages of a step, called one after the other.

use std::path::Path;

use anyhow::{Context, Result, bail};
use longtail::burn::optim::GradientsParams;
use longtail::burn::tensor::{Device, Tensor, TensorData};
use longtail::losses::{ClassificationLossConfig, CrossEntropyConfig};
use longtail::models::{
    BackboneConfig, DetectionConfig, Detector, DetectorBackboneConfig, DetectorConfig,
    DetectorLoadScope, MaskHead, MaskRcnnConfig, RCnn, StepKey,
};
use longtail::ops::ImageBatch;
use longtail::training::{Optimizer, OptimizerConfig};
use longtail::types::{BBox, ClassCounts, Instance};

use super::Step;
use super::case::{CaseFolder, DetectorCase, SIZE};
use super::clock::Clock;
use super::process::peak_bytes;

/// A detector with everything that a step needs.
pub(super) struct Ours {
    case: DetectorCase,
    detector: Detector,
    batch: ImageBatch,
    targets: Vec<Vec<Instance>>,
    optimizer: Optimizer,
    step: u64,
}

impl Ours {
    pub(super) fn new(folder: &CaseFolder, device: &Device) -> Result<Self> {
        let case = folder.case;
        let device = device.clone();
        let device = if case.is_training() { device.autodiff() } else { device };
        let detector = detector(folder, &device)?;
        let detector = if case.is_training() { detector } else { detector.for_inference() };
        let shape = [case.num_images(), 3, SIZE, SIZE];
        let images = Tensor::from_data(TensorData::new(folder.pixels()?, shape), &device);
        let batch = ImageBatch { images, sizes: vec![[SIZE; 2]; case.num_images()] };
        let optimizer = OptimizerConfig::Sgd {
            lr: 1e-6,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 1e-4,
            decayed: Default::default(),
        };
        let (targets, optimizer) = (folder.targets(), optimizer.init());
        Ok(Self { case, detector, batch, targets, optimizer, step: 0 })
    }

    /// One step: the times of its stages, and what it found.
    pub(super) fn run(&mut self) -> Result<Step> {
        if self.case.is_training() { self.training() } else { self.inference() }
    }

    fn rcnn(&self) -> Result<(&RCnn, &MaskHead)> {
        let Detector::RCnn(detector) = &self.detector else { bail!("not an R-CNN") };
        let masks = detector.roi_heads.masks.as_ref().context("no mask branch")?;
        Ok((detector, masks))
    }

    fn training(&mut self) -> Result<Step> {
        let key = StepKey { seed: 0, step: self.step, first_image: 0 };
        self.step += 1;
        let mut clock = Clock::start(&self.batch.images.device())?;
        let (detector, masks) = self.rcnn()?;
        let [stage] = detector.roi_heads.stages.as_slice() else { bail!("a cascade") };
        let targets = self.targets.as_slice();
        let maps = detector.backbone.body.stages(self.batch.images.clone());
        clock.stage("backbone")?;
        let features = detector.backbone.fpn.forward(maps);
        clock.stage("fpn")?;
        let output = detector.rpn.forward(&features, [SIZE; 2]);
        clock.stage("rpn head")?;
        let limits = detector.rpn.config().train;
        let proposals = detector.rpn.proposals(&output, &self.batch.sizes, limits)?;
        let regions = detector.roi_heads.sample(proposals, targets, key);
        clock.stage("proposals")?;
        let features = &features[..detector.num_pooled_levels()];
        let boxes = regions.iter().map(|regions| regions.boxes.clone()).collect();
        let pooled = stage.pool(features, boxes);
        clock.stage("roi align")?;
        let box_output = stage.forward(pooled);
        clock.stage("box head")?;
        let positives = |regions: &longtail::models::Regions| -> Vec<(BBox, usize)> {
            regions.positives().collect()
        };
        let positives: Vec<_> = regions.iter().map(positives).collect();
        let boxes = positives.iter().map(|list| list.iter().map(|(bbox, _)| *bbox).collect());
        let boxes: Vec<Vec<BBox>> = boxes.collect();
        let labels = positives
            .iter()
            .zip(targets)
            .flat_map(|(list, instances)| list.iter().map(|&(_, object)| instances[object].label));
        let labels: Vec<usize> = labels.collect();
        let (num_rois, num_positives) =
            (regions.iter().map(|regions| regions.boxes.len()).sum::<usize>(), labels.len());
        let pooled = masks.pool(features, boxes);
        clock.stage("roi align")?;
        let mask_logits = masks.forward(pooled, labels);
        clock.stage("mask head")?;
        let [(_, objectness), (_, anchor_boxes)] = detector.rpn.losses(&output, targets, key);
        let heads = stage.losses(box_output, &regions, targets)?;
        let mask_loss = masks.loss(mask_logits, &regions, targets, &self.batch.sizes);
        let total = objectness + anchor_boxes + heads.classifier + heads.boxes + mask_loss;
        drop(output);
        clock.stage("losses")?;
        let loss = total.clone().into_scalar::<f32>();
        let gradients = GradientsParams::from_grads(total.backward(), &self.detector);
        clock.stage("backward")?;
        self.optimizer.update(1e-6, &mut self.detector, gradients);
        clock.stage("optimizer")?;
        let facts = format!("loss {loss:.4}, {num_rois} regions, {num_positives} positives");
        Ok(Step { stages: clock.finish(), check: None, facts }) // regions are drawn at random
    }

    fn inference(&mut self) -> Result<Step> {
        let mut clock = Clock::start(&self.batch.images.device())?;
        let (detector, masks) = self.rcnn()?;
        let [stage] = detector.roi_heads.stages.as_slice() else { bail!("a cascade") };
        let sizes = &self.batch.sizes;
        let maps = detector.backbone.body.stages(self.batch.images.clone());
        clock.stage("backbone")?;
        let features = detector.backbone.fpn.forward(maps);
        clock.stage("fpn")?;
        let output = detector.rpn.forward(&features, [SIZE; 2]);
        clock.stage("rpn head")?;
        let proposals = detector.rpn.proposals(&output, sizes, detector.rpn.config().test)?;
        clock.stage("proposals")?;
        let features = &features[..detector.num_pooled_levels()];
        let pooled = stage.pool(features, proposals.clone());
        clock.stage("roi align")?;
        let output = stage.forward(pooled);
        clock.stage("box head")?;
        let scores = self.detector.classification_losses()[0].scores(output.logits)?;
        let found = detector.roi_heads.detections(scores, output.offsets, &proposals, sizes)?;
        clock.stage("detections")?;
        let boxes = found.iter().map(|found| found.iter().map(|d| d.bbox).collect()).collect();
        let labels = found.iter().flatten().map(|detection| detection.label).collect();
        let pooled = masks.pool(features, boxes);
        clock.stage("roi align")?;
        let drawn = masks.predict(pooled, labels)?;
        clock.stage("mask head")?;
        let mut drawn = drawn.into_iter();
        let (mut sum, mut count) = (0.0, 0);
        for (found, &size) in found.into_iter().zip(sizes) {
            for mut detection in found {
                detection.mask = drawn.next();
                let detection = detection.resized(size, size);
                sum += detection.score;
                count += 1;
            }
        }
        clock.stage("masks drawn")?;
        let num_rois: usize = proposals.iter().map(Vec::len).sum();
        let facts = format!("sum of scores {sum:.4}, {num_rois} regions, {count} detections");
        Ok(Step { stages: clock.finish(), check: Some(sum.into()), facts })
    }
}

fn detector(folder: &CaseFolder, device: &Device) -> Result<Detector> {
    let case = folder.case;
    let counts: Vec<u64> = vec![1; case.num_classes()];
    let counts = ClassCounts::new(counts.clone(), counts, case.num_classes() as u64)?;
    let loss = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig { background: true });
    let architecture = match case.body() {
        "resnet18" => BackboneConfig::ResNet18,
        _ => BackboneConfig::ResNet50,
    };
    let config = MaskRcnnConfig {
        backbone: DetectorBackboneConfig { architecture, ..Default::default() },
        detection: DetectionConfig {
            score_threshold: case.score_threshold(),
            max_per_image: case.max_detections(),
            ..Default::default()
        },
        ..Default::default()
    };
    let config = DetectorConfig::MaskRcnn(config);
    let mut detector = config.init(loss.init(&counts, device)?, 0, device)?;
    if let Some(weights) = folder.weights() {
        detector.load_weights(weights, DetectorLoadScope::All)?;
    }
    Ok(detector)
}

/// Runs a few steps of a case whose folder another process has made: the peak memory of this
/// process, in bytes.
///
/// # Errors
/// If a step fails, or the system does not tell.
pub fn peak_of(case: DetectorCase, folder: &Path, threads: usize) -> Result<u64> {
    super::process::use_threads(threads)?;
    let mut ours = Ours::new(&CaseFolder::of(case, folder), &Device::flex())?;
    for _ in 0..4 {
        ours.run()?;
    }
    peak_bytes()
}
