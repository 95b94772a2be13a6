//! The heads of a two-stage detector: proposals in, losses or detections out.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_losses::StatisticsUpdate;
use longtail_ops::{BalancedSampler, ImageBatch};
use longtail_types::{BBox, Instance, KeyedRng, Stream};

use crate::detector_losses::StepKey;
use crate::error::ModelError;
use crate::host::read_back;
use crate::raw_detection::RawDetection;
use crate::rcnn::box_stage::{BoxStage, StageLosses};
use crate::rcnn::detections::{DetectionConfig, Rows, detections};
use crate::rcnn::mask_head::MaskHead;
use crate::rcnn::rois::{Regions, filled};

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
    #[module(skip)]
    pub(crate) sampler: BalancedSampler,
    #[module(skip)]
    pub(crate) detection: DetectionConfig,
}

/// Losses by name, and what they add to statistics, one per stage.
pub(crate) type HeadLosses = (Vec<(&'static str, Tensor<1>)>, Vec<StatisticsUpdate>);

impl RoiHeads {
    /// `features` are the levels that regions are pooled from.
    pub(crate) fn losses(
        &self,
        features: &[Tensor<4>],
        proposals: Vec<Vec<BBox>>,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Result<HeadLosses, ModelError> {
        let Some(first) = self.stages.first() else { return Ok(Default::default()) };
        let images = proposals.into_iter().zip(targets).enumerate();
        let sampled = images.map(|(image, (proposals, instances))| {
            let mut rng = KeyedRng::new(key.seed, Stream::Rois, key.step, image as u64);
            Regions::sample(proposals, instances, first.rule.matcher, self.sampler, &mut rng)
        });
        let sampled: Vec<Regions> = sampled.collect();

        let (mut losses, mut updates) = (Vec::new(), Vec::new());
        let mut regions = sampled.clone();
        for (index, stage) in self.stages.iter().enumerate() {
            let boxes = filled(regions.iter().map(|regions| regions.boxes.clone()).collect());
            let output = stage.forward(features, &boxes);
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
                stage.losses(output, &regions, targets)?;
            let [name, box_name] = self.names(index);
            losses.push((name, classifier));
            losses.push((box_name, boxes));
            updates.push(update);
            regions = next.unwrap_or_default();
        }
        if let Some(masks) = &self.masks {
            losses.push(("loss_mask", masks.loss(features, &sampled, targets, &batch.sizes)));
        }
        Ok((losses, updates))
    }

    fn names(&self, stage: usize) -> [&'static str; 2] {
        match CASCADE_NAMES.get(stage) {
            Some(names) if self.stages.len() > 1 => *names,
            _ => ["loss_classifier", "loss_box_reg"],
        }
    }

    /// Detections of each image by falling score. The scores of a cascade are the mean of its
    /// stages', the boxes are the last stage's.
    pub(crate) fn detect(
        &self,
        features: &[Tensor<4>],
        proposals: Vec<Vec<BBox>>,
        sizes: &[[usize; 2]],
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        let Some(last) = self.stages.last() else { return Ok(vec![Vec::new(); sizes.len()]) };
        if proposals.iter().all(Vec::is_empty) {
            return Ok(vec![Vec::new(); sizes.len()]);
        }
        let mut boxes = proposals;
        let mut scores: Option<Tensor<2>> = None;
        let mut values = Vec::new();
        let mut num_columns = 0;
        for (index, stage) in self.stages.iter().enumerate() {
            let output = stage.forward(features, &filled(boxes.clone()));
            let stage_scores = stage.loss.get().scores(output.logits)?;
            let sum = match scores.take() {
                Some(scores) => scores + stage_scores,
                None => stage_scores,
            };
            if index + 1 < self.stages.len() {
                let offsets = read_back("refined boxes", output.offsets)?;
                boxes = refined(stage, boxes.iter().map(Vec::as_slice), &offsets, sizes);
                scores = Some(sum);
            } else {
                let mean = sum / self.stages.len() as f32;
                let rows = Tensor::cat(vec![mean, output.offsets], 1);
                num_columns = rows.dims()[1];
                values = read_back("detections", rows)?;
            }
        }
        let mut rest = values.as_slice();
        let of_image = |(boxes, &size): (&Vec<BBox>, &[usize; 2])| {
            let (values, after) = rest.split_at(boxes.len() * num_columns);
            rest = after;
            let num_classes = last.loss.get().num_classes();
            let is_class_specific = last.rule.is_class_specific;
            let rows = Rows { boxes, values, num_columns, num_classes, is_class_specific };
            detections(&rows, size, &last.rule.coder, &self.detection)
        };
        let mut found: Vec<Vec<RawDetection>> = boxes.iter().zip(sizes).map(of_image).collect();
        if let Some(masks) = &self.masks {
            let boxes = found.iter().map(|found| found.iter().map(|d| d.bbox).collect()).collect();
            let labels = found.iter().flatten().map(|d| d.label).collect();
            let masks = masks.predict(features, boxes, labels)?;
            for (detection, mask) in found.iter_mut().flatten().zip(masks) {
                detection.mask = Some(mask);
            }
        }
        Ok(found)
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
