//! The heads of a two-stage detector: proposals in, losses or detections out.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_losses::ClassificationLoss;
use longtail_ops::{BalancedSampler, ImageBatch};
use longtail_types::{BBox, Instance, KeyedRng, Stream};
use rayon::prelude::*;

use crate::detector_losses::{DetectorLosses, StepKey};
use crate::error::ModelError;
use crate::host::{HostRead, blocking, read_back};
use crate::raw_detection::RawDetection;
use crate::rcnn::box_stage::{BoxStage, StageLosses};
use crate::rcnn::detections::{DetectionConfig, Rows, detections};
use crate::rcnn::feature_memory::{DrawnRegions, FeatureMemory};
use crate::rcnn::mask_head::MaskHead;
use crate::rcnn::rois::{Regions, positives};

/// Names of the losses of the box heads of a cascade.
const CASCADE_NAMES: [[&str; 2]; 3] = [
    ["loss_classifier_stage1", "loss_box_reg_stage1"],
    ["loss_classifier_stage2", "loss_box_reg_stage2"],
    ["loss_classifier_stage3", "loss_box_reg_stage3"],
];

/// One box head or a cascade of three, and the mask branch if there is one.
#[derive(Module, Debug)]
pub struct RoiHeads {
    /// The box heads, in order.
    pub stages: Vec<BoxStage>,
    /// The mask branch.
    pub masks: Option<MaskHead>,
    /// Regions of earlier images.
    pub memory: Option<FeatureMemory>,
    #[module(skip)]
    pub(crate) sampler: BalancedSampler,
    #[module(skip)]
    pub(crate) detection: DetectionConfig,
}

impl RoiHeads {
    /// With fixed norms folded into the convolutions.
    pub(crate) fn fold(&mut self) {
        self.stages.iter_mut().for_each(|stage| stage.box_head.fold());
        self.masks.iter_mut().for_each(MaskHead::fold);
    }

    /// The regions that the losses see: a random choice of the proposals and the objects' own boxes.
    pub fn sample(
        &self,
        proposals: Vec<Vec<BBox>>,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Vec<Regions> {
        let Some(first) = self.stages.first() else { return Vec::new() };
        let images = proposals.into_iter().zip(targets).enumerate();
        let sampled = images.map(|(image, (proposals, instances))| {
            let mut rng =
                KeyedRng::new(key.seed, Stream::Rois, key.step, key.first_image + image as u64);
            Regions::sample(proposals, instances, first.rule.matcher, self.sampler, &mut rng)
        });
        sampled.collect()
    }

    /// `features` are the levels that regions are pooled from.
    pub(crate) fn losses(
        &self,
        features: &[Tensor<4>],
        proposals: Vec<Vec<BBox>>,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Result<DetectorLosses, ModelError> {
        let sampled = self.sample(proposals, targets, key);
        let (mut losses, mut counts) = (Vec::new(), Vec::new());
        let (mut updates, mut updated_losses) = (Vec::new(), Vec::new());
        let mut regions = sampled.clone();
        for (index, stage) in self.stages.iter().enumerate() {
            let boxes = regions.iter().map(|regions| regions.boxes.clone()).collect();
            let pooled = stage.pool(features, boxes);
            let drawn = self.drawn(stage, features, batch, targets, key);
            let pooled = match &drawn {
                Some(drawn) => Tensor::cat(vec![pooled, drawn.features.clone()], 0),
                None => pooled,
            };
            let output = stage.forward(pooled);
            let next = match self.stages.get(index + 1) {
                Some(next) => {
                    let offsets = read_back("refined boxes", output.offsets.clone())?;
                    let boxes = regions.iter().map(|regions| regions.boxes.as_slice());
                    let moved = refined(stage, boxes, &offsets, &batch.sizes).into_iter();
                    let rematch = |(boxes, instances): (Vec<BBox>, &Vec<Instance>)| {
                        Regions::rematch(boxes, instances, next.rule.matcher)
                    };
                    Some(moved.zip(targets).map(rematch).collect())
                }
                None => None,
            };
            let StageLosses { classifier, boxes, update } =
                stage.losses_with(output, &regions, targets, drawn.as_ref())?;
            let num_regions: usize = regions.iter().map(|regions| regions.boxes.len()).sum();
            counts.extend([num_regions.max(1); 2]);
            let [name, box_name] = self.names(index);
            updated_losses.push(losses.len());
            losses.push((name, classifier));
            losses.push((box_name, boxes));
            updates.push(update);
            regions = next.unwrap_or_default();
        }
        if let Some(masks) = &self.masks {
            let (boxes, labels) = positives(&sampled, targets);
            counts.push(labels.len().max(1));
            let logits = masks.forward(masks.pool(features, boxes), labels);
            losses.push(("loss_mask", masks.loss(logits, &sampled, targets, &batch.sizes)));
        }
        Ok(DetectorLosses { losses, counts, updates, updated_losses })
    }

    /// Takes the objects of a batch that trains into the memory, and draws from it.
    fn drawn(
        &self,
        stage: &BoxStage,
        features: &[Tensor<4>],
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Option<DrawnRegions> {
        let (memory, level) = (self.memory.as_ref()?, features.first()?);
        let ClassificationLoss::Equilibrium(loss) = stage.loss.get() else { return None };
        if !level.is_autodiff() {
            return None;
        }
        let mut boxes = memory.boxes(targets, &batch.sizes, &stage.rule.coder, key);
        let features: Vec<Tensor<4>> =
            features.iter().map(|level| level.clone().without_autodiff()).collect();
        let pooled = stage.pool(&features, std::mem::take(&mut boxes.boxes));
        let [_, channels, height, width] = pooled.dims();
        memory.push(boxes, pooled);
        memory.draw(loss.mean_scores(), [channels, height, width], key)
    }

    fn names(&self, stage: usize) -> [&'static str; 2] {
        match CASCADE_NAMES.get(stage) {
            Some(names) if self.stages.len() > 1 => *names,
            _ => ["loss_classifier", "loss_box_reg"],
        }
    }

    /// Detections of each image by falling score. The scores of a cascade are the mean of its
    /// stages', the boxes are the last stage's.
    pub(crate) async fn detect_by(
        &self,
        how: HostRead,
        features: &[Tensor<4>],
        proposals: Vec<Vec<BBox>>,
        sizes: &[[usize; 2]],
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        if proposals.iter().all(Vec::is_empty) {
            return Ok(vec![Vec::new(); sizes.len()]);
        }
        let mut boxes = proposals;
        let mut scores: Option<Tensor<2>> = None;
        let mut found = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            let output = stage.forward(stage.pool(features, boxes.clone()));
            let stage_scores = stage.loss.scores(output.logits)?;
            let sum = match scores.take() {
                Some(scores) => scores + stage_scores,
                None => stage_scores,
            };
            if index + 1 < self.stages.len() {
                let offsets = how.read("refined boxes", output.offsets).await?;
                boxes = refined(stage, boxes.iter().map(Vec::as_slice), &offsets, sizes);
                scores = Some(sum);
            } else {
                let mean = if index == 0 { sum } else { sum / self.stages.len() as f32 };
                found = self.detections_by(how, mean, output.offsets, &boxes, sizes).await?;
            }
        }
        if let Some(masks) = &self.masks {
            let boxes: Vec<Vec<BBox>> =
                found.iter().map(|found| found.iter().map(|d| d.bbox).collect()).collect();
            let labels: Vec<usize> = found.iter().flatten().map(|d| d.label).collect();
            if !labels.is_empty() {
                let masks = masks.predict_by(how, masks.pool(features, boxes), labels).await?;
                for (detection, mask) in found.iter_mut().flatten().zip(masks) {
                    detection.mask = Some(mask);
                }
            }
        }
        Ok(found)
    }

    /// Detections of each image by falling score, without masks. Waits for the device.
    ///
    /// # Shapes
    /// - scores: `[num_rows, num_classes]` of the boxes of all images
    /// - offsets: `[num_rows, num_groups * 4]`
    ///
    /// # Errors
    /// If the numbers can't be read back.
    pub fn detections(
        &self,
        scores: Tensor<2>,
        offsets: Tensor<2>,
        boxes: &[Vec<BBox>],
        sizes: &[[usize; 2]],
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        blocking(self.detections_by(HostRead::Blocking, scores, offsets, boxes, sizes))
    }

    /// As [`detections`](Self::detections), waiting as `how` says.
    async fn detections_by(
        &self,
        how: HostRead,
        scores: Tensor<2>,
        offsets: Tensor<2>,
        boxes: &[Vec<BBox>],
        sizes: &[[usize; 2]],
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        let Some(last) = self.stages.last() else { return Ok(vec![Vec::new(); sizes.len()]) };
        let rows = Tensor::cat(vec![scores, offsets], 1);
        let [_, num_columns] = rows.dims();
        let values = how.read("detections", rows).await?;
        let num_classes = last.loss.get().num_classes();
        let is_class_specific = last.rule.is_class_specific;
        let mut rest = values.as_slice();
        let images = boxes.iter().zip(sizes).map(|(boxes, &size)| {
            let (values, after) = rest.split_at(boxes.len() * num_columns);
            rest = after;
            let rows = Rows { boxes, values, num_columns, num_classes, is_class_specific };
            (rows, size)
        });
        let images: Vec<_> = images.collect();
        let of_image =
            |(rows, size): &(Rows, _)| detections(rows, *size, &last.rule.coder, &self.detection);
        Ok(images.par_iter().map(of_image).collect())
    }
}

/// The boxes of each image, moved by a stage. `offsets` are the rows of all of them, then fillers.
fn refined<'a>(
    stage: &BoxStage,
    boxes: impl Iterator<Item = &'a [BBox]>,
    offsets: &[f32],
    sizes: &[[usize; 2]],
) -> Vec<Vec<BBox>> {
    let mut rest = offsets;
    let moved = boxes.zip(sizes).map(|(boxes, &size)| {
        let (offsets, after) = rest.split_at(boxes.len() * 4);
        rest = after;
        stage.refine(boxes, offsets, size)
    });
    moved.collect()
}
