//! RetinaNet: every anchor is classified in one stage.

use burn::module::Module;
use burn::tensor::{Bool, Device, IndexingUpdateOp, Tensor, TensorData};
use longtail_losses::{ClassificationLoss, LossOutput, Reduction, RowLabels, StatisticsUpdate};
use longtail_ops::{AnchorGenerator, BoxCoder, ImageBatch, Match, Matcher, bucket, paired_iou};
use longtail_types::{BBox, Instance};

use crate::box_loss::smooth_l1;
use crate::detector_input::{boxes_of, check_images, check_targets};
use crate::detector_losses::DetectorLosses;
use crate::error::ModelError;
use crate::held_loss::HeldLoss;
use crate::host::{HostRead, blocking, real_rows, upload, upload_indices};
use crate::raw_detection::RawDetection;
use crate::resnet_fpn::ResNetFpn;
use crate::retinanet_config::RetinaNetConfig;
use crate::retinanet_detections::{AnchorRows, detections};
use crate::retinanet_head::{RetinaNetHead, RetinaNetOutput};

/// A one-stage detector: a pyramid and two towers on every level, made by [`RetinaNetConfig`].
///
/// Parameter names are torchvision's.
/// Source: Lin et al., ICCV 2017, <https://arxiv.org/abs/1708.02002>.
#[derive(Module, Debug)]
pub struct RetinaNet {
    /// Images to a pyramid.
    pub backbone: ResNetFpn,
    /// Levels to class logits and box offsets.
    pub head: RetinaNetHead,
    pub(crate) loss: HeldLoss,
    #[module(skip)]
    pub(crate) anchors: AnchorGenerator,
    #[module(skip)]
    pub(crate) config: RetinaNetConfig,
}

impl RetinaNet {
    /// What it was made from.
    pub fn config(&self) -> &RetinaNetConfig {
        &self.config
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.loss.get().num_classes()
    }

    /// The classification loss.
    pub fn classification_loss(&self) -> &ClassificationLoss {
        self.loss.get()
    }

    /// The classification loss, to apply statistics to.
    pub fn classification_loss_mut(&mut self) -> &mut ClassificationLoss {
        self.loss.get_mut()
    }

    /// With fixed norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(mut self) -> Self {
        self.backbone = self.backbone.for_inference();
        self.head.fold();
        self
    }

    /// The losses of a batch: `classification` over all anchors that are not ignored, and
    /// `bbox_regression`, L1 over the positive ones. Anchors are matched on the host, and nothing is
    /// read back from the device.
    ///
    /// Both losses are sums over the batch divided by its number of positive anchors, at least 1,
    /// unless the classification loss brings a divisor of its own. A loss that wants to know how well
    /// the boxes fit is told the overlap of each positive anchor's box with its object.
    ///
    /// torchvision divides image by image and averages over the images, which weighs images with few
    /// objects more; for one image the two agree.
    ///
    /// # Errors
    /// If the lists of the batch disagree, or an object can't be learned.
    pub fn losses(
        &self,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
    ) -> Result<DetectorLosses, ModelError> {
        check_images(batch)?;
        check_targets(batch, targets, self.num_classes(), false)?;
        let (output, anchors) = self.forward(batch.images.clone());
        let assigned = self.assign(&anchors.concat(), targets);
        let num_positives = assigned.positives.len();
        let wants_qualities = self.loss.get().wants_qualities();
        let qualities = wants_qualities.then(|| qualities(&output.offsets, &assigned));
        let (loss, update, count) = self.classification(output.logits, &assigned, qualities)?;
        let boxes = regression(output.offsets, assigned, self.config.smooth_l1_beta);
        let mean = 1.0 / num_positives.max(1) as f32;
        let losses = vec![("classification", loss), ("bbox_regression", boxes * mean)];
        let counts = vec![count, num_positives.max(1)];
        Ok(DetectorLosses { losses, counts, updates: vec![update], updated_losses: vec![0] })
    }

    /// Detections of each image by falling score, in the pixels of the batch.
    ///
    /// # Errors
    /// If the lists of the batch disagree, or the results can't be read back.
    pub fn predict(&self, batch: &ImageBatch) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        blocking(self.predict_by(HostRead::Blocking, batch))
    }

    pub(crate) async fn predict_by(
        &self,
        how: HostRead,
        batch: &ImageBatch,
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        check_images(batch)?;
        let (output, anchors) = self.forward(batch.images.clone());
        let [batch_size, num_anchors, num_logits] = output.logits.dims();
        let logits = output.logits.reshape([batch_size * num_anchors, num_logits]);
        let num_classes = self.num_classes();
        let scores = how.read("scores", self.loss.scores(logits)?).await?;
        let offsets = how.read("box offsets", output.offsets).await?;
        let images = scores
            .chunks_exact((num_anchors * num_classes).max(1))
            .zip(offsets.chunks_exact((num_anchors * 4).max(1)))
            .zip(&batch.sizes);
        let found = images.map(|((scores, offsets), &size)| {
            let rows = AnchorRows { anchors: &anchors, scores, offsets, num_classes };
            detections(&rows, size, &BoxCoder::default(), &self.config.detection)
        });
        Ok(found.collect())
    }

    /// Predictions, and the anchors of each level.
    fn forward(&self, images: Tensor<4>) -> (RetinaNetOutput, Vec<Vec<BBox>>) {
        let [_, _, height, width] = images.dims();
        let features = self.backbone.forward(images);
        let size = |level: &Tensor<4>| {
            let [_, _, height, width] = level.dims();
            [height, width]
        };
        let sizes: Vec<[usize; 2]> = features.iter().map(size).collect();
        let anchors = self.anchors.anchors([height, width], &sizes);
        (self.head.forward(&features, self.loss.get().num_logits()), anchors)
    }

    fn assign(&self, anchors: &[BBox], targets: &[Vec<Instance>]) -> Assigned {
        let (high, low) = (self.config.positive_iou, self.config.negative_iou);
        let matcher = Matcher { high, low, allow_low_quality: true };
        let coder = BoxCoder::default();
        let num_rows = anchors.len() * targets.len();
        let mut assigned = Assigned {
            labels: Vec::with_capacity(num_rows),
            is_ignored: Vec::with_capacity(num_rows),
            ..Default::default()
        };
        for instances in targets {
            let gt_boxes = boxes_of(instances);
            let matches = matcher.match_boxes(&gt_boxes, anchors);
            for (&anchor, found) in anchors.iter().zip(matches) {
                let mut label = self.num_classes();
                if let Match::Positive(object) = found {
                    label = instances[object].label;
                    assigned.positives.push(assigned.labels.len());
                    assigned.offsets.extend(coder.encode(anchor, gt_boxes[object]));
                }
                assigned.labels.push(label);
                assigned.is_ignored.push(found == Match::Ignored);
            }
        }
        assigned
    }

    /// The loss, its statistics, and the number that a mean over the batch was divided by.
    fn classification(
        &self,
        logits: Tensor<3>,
        assigned: &Assigned,
        qualities: Option<Tensor<1>>,
    ) -> Result<(Tensor<1>, StatisticsUpdate, usize), ModelError> {
        let [batch_size, num_anchors, num_logits] = logits.dims();
        let num_rows = batch_size * num_anchors;
        let (loss, device) = (self.loss.get(), logits.device());
        let is_ignored = TensorData::new(assigned.is_ignored.clone(), [num_rows]);
        let is_ignored = Tensor::<1, Bool>::from_data(is_ignored, &device);
        let labels = RowLabels::from_host(&assigned.labels, loss.num_labels(), &device)?;
        let labels = RowLabels { qualities, ..labels.ignoring(is_ignored) };
        let reduction = loss.dense_reduction(assigned.positives.len());
        let count = match reduction {
            Reduction::Mean => {
                assigned.is_ignored.iter().filter(|&&is_ignored| !is_ignored).count()
            }
            _ => assigned.positives.len(),
        };
        let logits = logits.reshape([num_rows, num_logits]);
        let LossOutput { loss, update } = loss.forward_with(logits, labels, reduction)?;
        Ok((loss, update, count.max(1)))
    }
}

/// What each anchor of a batch should be; rows of `[batch * anchors]`.
#[derive(Default)]
struct Assigned {
    /// Class, or background.
    labels: Vec<usize>,
    /// Between the two thresholds.
    is_ignored: Vec<bool>,
    /// Rows of objects.
    positives: Vec<usize>,
    /// Four offsets for each of them.
    offsets: Vec<f32>,
}

/// Overlap of the predicted box with its object on each positive row, 0 on the others; a constant to
/// the gradient.
fn qualities(offsets: &Tensor<3>, assigned: &Assigned) -> Tensor<1> {
    let [batch_size, num_anchors, _] = offsets.dims();
    let num_rows = batch_size * num_anchors;
    let offsets = offsets.clone().without_autodiff();
    let device = offsets.device();
    let mut positives = assigned.positives.clone();
    let mut expected = assigned.offsets.clone();
    let num_boxes = bucket(positives.len());
    let is_real = real_rows(positives.len(), num_boxes);
    positives.resize(num_boxes, 0);
    expected.resize(num_boxes * 4, 0.0);
    let rows = upload_indices(&positives, &device);
    let predicted = offsets.reshape([num_rows, 4]).select(0, rows.clone());
    // The overlap is the same whatever the anchor: both boxes move and grow with it.
    let anchors = Tensor::<2>::from_floats([[0.0, 0.0, 1.0, 1.0]], &device).expand([num_boxes, 4]);
    let boxes = |offsets| BoxCoder::default().decode_tensor(offsets, anchors.clone());
    let expected = upload(expected, [num_boxes, 4], &device);
    let overlaps = paired_iou(boxes(predicted), boxes(expected));
    let overlaps = overlaps * upload(is_real, [num_boxes], &device);
    Tensor::zeros([num_rows], &device).select_assign(0, rows, overlaps, IndexingUpdateOp::Add)
}

/// Sum of the box losses of the positive rows; 0 with a gradient of 0 if there are none.
fn regression(offsets: Tensor<3>, assigned: Assigned, beta: f32) -> Tensor<1> {
    let [batch_size, num_anchors, _] = offsets.dims();
    let device: Device = offsets.device();
    let Assigned { mut positives, offsets: mut expected, .. } = assigned;
    let num_positives = positives.len();
    let num_rows = bucket(num_positives);
    positives.resize(num_rows, 0);
    expected.resize(num_rows * 4, 0.0);
    let predicted = offsets.reshape([batch_size * num_anchors, 4]);
    let predicted = predicted.select(0, upload_indices(&positives, &device));
    let expected = upload(expected, [num_rows, 4], &device);
    let weight = upload(real_rows(num_positives, num_rows), [num_rows, 1], &device);
    (smooth_l1(predicted, expected, beta) * weight).sum()
}
