//! One box head of a two-stage detector, with its losses.

use burn::module::Module;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use longtail_losses::{LossError, Reduction, RowLabels, StatisticsUpdate};
use longtail_ops::{BoxCoder, Matcher, RoiAligner, bucket};
use longtail_types::{BBox, Instance};

use crate::box_loss::smooth_l1;
use crate::error::ModelError;
use crate::held_loss::HeldLoss;
use crate::host::{real_rows, upload, upload_indices};
use crate::rcnn::box_head::BoxHead;
use crate::rcnn::box_predictor::BoxPredictor;
use crate::rcnn::feature_memory::DrawnRegions;
use crate::rcnn::rois::{Regions, filled};

/// Classifies regions and moves their boxes. Faster and Mask R-CNN have one, a cascade has three.
#[derive(Module, Debug)]
pub struct BoxStage {
    /// Regions to vectors.
    pub box_head: BoxHead,
    /// Vectors to class logits and box offsets.
    pub box_predictor: BoxPredictor,
    pub(crate) loss: HeldLoss,
    #[module(skip)]
    pub(crate) rule: StageRule,
}

/// What a stage does beside its layers.
#[derive(Debug, Clone)]
pub(crate) struct StageRule {
    pub(crate) aligner: RoiAligner,
    pub(crate) coder: BoxCoder,
    pub(crate) matcher: Matcher,
    pub(crate) smooth_l1_beta: f32,
    /// One group of four offsets for each class, instead of one for all.
    pub(crate) is_class_specific: bool,
    /// Part of the gradient that the features get.
    pub(crate) gradient_share: f32,
}

/// What a stage says of regions.
#[derive(Debug, Clone)]
pub struct BoxOutput {
    /// `[num_rois, num_logits]`
    pub logits: Tensor<2>,
    /// `[num_rois, num_groups * 4]`
    pub offsets: Tensor<2>,
}

/// Losses of a stage.
#[derive(Debug)]
pub struct StageLosses {
    /// Mean over the regions.
    pub classifier: Tensor<1>,
    /// Over the positive regions, divided by the number of all.
    pub boxes: Tensor<1>,
    /// What the classification loss adds to its statistics.
    pub update: StatisticsUpdate,
}

impl BoxStage {
    /// Cuts regions out of the levels of the pyramid that are pooled from.
    ///
    /// # Shapes
    /// - features: `[batch, channels, height_l, width_l]` of each of these levels
    /// - rois: of each image
    /// - output: `[num_rois, channels, size, size]`, image by image, perhaps with more rows at the
    ///   end that fill up
    pub fn pool(&self, features: &[Tensor<4>], rois: Vec<Vec<BBox>>) -> Tensor<4> {
        let rois = match features.first() {
            Some(level) => filled(rois, &level.device()),
            None => rois,
        };
        let regions = self.rule.aligner.forward(features, &rois);
        let share = self.rule.gradient_share;
        if share != 1.0 && regions.is_autodiff() {
            return regions.clone() * share + regions.detach() * (1.0 - share);
        }
        regions
    }

    /// # Shapes
    /// - regions: `[num_rois, channels, size, size]`
    pub fn forward(&self, regions: Tensor<4>) -> BoxOutput {
        let (logits, offsets) = self.box_predictor.forward(self.box_head.forward(regions));
        BoxOutput { logits, offsets }
    }

    /// The group of offsets that holds the box of `label`.
    pub(crate) fn group(&self, label: usize) -> usize {
        if self.rule.is_class_specific { label } else { 0 }
    }

    /// Mean classification loss over the regions, and the box loss summed over the positive ones and
    /// divided by the number of all regions. Rows beyond the regions are left out.
    ///
    /// # Errors
    /// If a label is out of range.
    pub fn losses(
        &self,
        output: BoxOutput,
        regions: &[Regions],
        targets: &[Vec<Instance>],
    ) -> Result<StageLosses, ModelError> {
        self.losses_with(output, regions, targets, None)
    }

    /// As [`losses`](Self::losses), where the last rows are regions drawn from a memory: they count
    /// as regions of the batch do.
    pub(crate) fn losses_with(
        &self,
        output: BoxOutput,
        regions: &[Regions],
        targets: &[Vec<Instance>],
        drawn: Option<&DrawnRegions>,
    ) -> Result<StageLosses, ModelError> {
        let device = output.logits.device();
        let num_drawn = drawn.map_or(0, |drawn| drawn.labels.dims()[0]);
        let num_rows = output.logits.dims()[0] - num_drawn;
        let [_, num_columns] = output.offsets.dims();
        let num_groups = num_columns / 4;
        let loss = self.loss.get();
        let (mut labels, mut positives, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        let mut shares = Vec::new();
        for (regions, instances) in regions.iter().zip(targets) {
            shares.extend(object_shares(&regions.objects, instances.len()));
            for (&roi, object) in regions.boxes.iter().zip(&regions.objects) {
                let instance = object.map(|object| &instances[object]);
                if let Some(Instance { label, bbox, .. }) = instance {
                    positives.push(labels.len() * num_groups + self.group(*label));
                    offsets.extend(self.rule.coder.encode(roi, *bbox));
                }
                labels.push(instance.map_or(loss.num_classes(), |instance| instance.label));
            }
        }
        let num_regions = labels.len();
        let reduction = Reduction::Mean; // over the rows that are not ignored
        shares.resize(num_rows, 1.0);
        let shares = upload(shares, [num_rows], &device);
        let mut labels = self.row_labels(labels, num_rows, &output.logits)?.sharing_objects(shares);
        if let Some(drawn) = drawn {
            labels = drawn.join(labels, num_rows);
        }
        let classified = loss.forward_with(output.logits, labels, reduction)?;

        let num_positives = positives.len();
        let num_boxes = bucket(num_positives);
        positives.resize(num_boxes, 0);
        offsets.resize(num_boxes * 4, 0.0);
        let all_rows = (num_rows + num_drawn) * num_groups;
        let all_predicted = output.offsets.reshape([all_rows, 4]);
        let predicted = all_predicted.clone().select(0, upload_indices(&positives, &device));
        let expected = upload(offsets, [num_boxes, 4], &device);
        let weight = upload(real_rows(num_positives, num_boxes), [num_boxes, 1], &device);
        let distance = smooth_l1(predicted, expected, self.rule.smooth_l1_beta);
        let sum = (distance * weight).sum();
        let boxes = match drawn {
            None => sum / num_regions.max(1) as f32,
            Some(drawn) => {
                let first = num_rows * num_groups;
                let predicted = all_predicted.narrow(0, first, num_drawn * num_groups);
                let rows = Tensor::<1, Int>::arange(0..num_drawn as i64, &device);
                let mut rows = rows * num_groups as i64;
                if self.rule.is_class_specific {
                    rows = rows + drawn.labels.clone();
                }
                let predicted = predicted.select(0, rows);
                let distance =
                    smooth_l1(predicted, drawn.offsets.clone(), self.rule.smooth_l1_beta);
                let is_there = drawn.is_there.clone();
                let count = is_there.clone().sum() + num_regions as f32;
                (sum + (distance * is_there.unsqueeze_dim::<2>(1)).sum()) / count.clamp_min(1.0)
            }
        };
        Ok(StageLosses { classifier: classified.loss, boxes, update: classified.update })
    }

    fn row_labels(
        &self,
        mut labels: Vec<usize>,
        num_rows: usize,
        logits: &Tensor<2>,
    ) -> Result<RowLabels, LossError> {
        let num_regions = labels.len();
        labels.resize(num_rows, 0);
        let device = logits.device();
        let labels = RowLabels::from_host(&labels, self.loss.get().num_labels(), &device)?;
        if num_regions == num_rows {
            return Ok(labels);
        }
        let is_filler: Vec<bool> = (0..num_rows).map(|row| row >= num_regions).collect();
        let is_filler = TensorData::new(is_filler, [num_rows]);
        Ok(labels.ignoring(Tensor::<1, Bool>::from_data(is_filler, &device)))
    }

    /// `boxes` moved by the offsets of class-agnostic rows `[num_boxes, 4]` and clipped. A box whose
    /// offsets are no numbers stays where it is.
    pub(crate) fn refine(&self, boxes: &[BBox], offsets: &[f32], size: [usize; 2]) -> Vec<BBox> {
        let rows = offsets.chunks_exact(4).map(|row| [row[0], row[1], row[2], row[3]]);
        let moved = boxes.iter().zip(rows).map(|(&bbox, row)| {
            let moved = self.rule.coder.decode(row, bbox).clip(size);
            if moved.to_array().iter().any(|v| v.is_nan()) { bbox } else { moved }
        });
        moved.collect()
    }
}

/// One over the number of regions with the same object, for each region; 1 for background.
fn object_shares(objects: &[Option<usize>], num_objects: usize) -> Vec<f32> {
    let mut counts = vec![0_u32; num_objects];
    objects.iter().flatten().for_each(|&object| counts[object] += 1);
    let share = |object: &Option<usize>| object.map_or(1.0, |object| 1.0 / counts[object] as f32);
    objects.iter().map(share).collect()
}
