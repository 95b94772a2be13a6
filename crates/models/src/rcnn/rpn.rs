//! The region proposal network: which places of an image hold an object at all.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_ops::{AnchorGenerator, BalancedSampler, BoxCoder, Match, Matcher, bucket};
use longtail_types::{BBox, Instance, KeyedRng, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::box_loss::{binary_cross_entropy, smooth_l1};
use crate::detector_input::boxes_of;
use crate::detector_losses::StepKey;
use crate::error::ModelError;
use crate::host::{HostRead, blocking, real_rows, upload, upload_indices};
use crate::rcnn::check::{check_fraction, check_ious, check_positive};
use crate::rcnn::proposals::{ProposalLimits, ProposalRule, proposals};
use crate::rcnn::rpn_head::{NUM_OUTPUTS, RpnHead};
use crate::weight_init::WeightInit;

/// Configuration of [`Rpn`]. Defaults: torchvision's `fasterrcnn_resnet50_fpn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpnConfig {
    /// Anchor sizes of each level, in pixels. Default: one each, 32, 64, 128, 256, 512.
    pub anchor_sizes: Vec<Vec<f32>>,
    /// Height over width of the anchors, for every size. Default: 0.5, 1, 2.
    pub aspect_ratios: Vec<f32>,
    /// 3x3 convolutions before the predictions. Default: 1.
    pub num_convs: usize,
    /// An anchor that overlaps an object by at least this IoU is positive. Default: 0.7. So is the
    /// best anchor of an object that none overlaps as much.
    pub positive_iou: f32,
    /// An anchor below this IoU with every object is negative. Default: 0.3.
    pub negative_iou: f32,
    /// Anchors per image in the losses. Default: 256.
    pub anchors_per_image: usize,
    /// Largest share of positives among them. Default: 0.5.
    pub positive_fraction: f64,
    /// Difference at which the box loss turns from square to linear. Default: 1/9.
    pub smooth_l1_beta: f32,
    /// Proposals in training. Default: 2000 and 2000.
    pub train: ProposalLimits,
    /// Proposals at test time. Default: 1000 and 1000.
    pub test: ProposalLimits,
    /// A proposal that overlaps a better one of its level by more than this IoU falls out.
    /// Default: 0.7.
    pub nms_threshold: f32,
    /// Proposals below this score fall out. Default: 0.
    pub min_score: f32,
}

impl Default for RpnConfig {
    fn default() -> Self {
        Self {
            anchor_sizes: [32.0, 64.0, 128.0, 256.0, 512.0].map(|size| vec![size]).into(),
            aspect_ratios: vec![0.5, 1.0, 2.0],
            num_convs: 1,
            positive_iou: 0.7,
            negative_iou: 0.3,
            anchors_per_image: 256,
            positive_fraction: 0.5,
            smooth_l1_beta: 1.0 / 9.0,
            train: ProposalLimits { before_nms: 2000, after_nms: 2000 },
            test: ProposalLimits { before_nms: 1000, after_nms: 1000 },
            nms_threshold: 0.7,
            min_score: 0.0,
        }
    }
}

impl RpnConfig {
    /// Makes the network for a pyramid of `num_levels` levels.
    ///
    /// # Errors
    /// If the anchors do not fit the pyramid, or a value is out of range.
    pub fn init(
        &self,
        channels: usize,
        num_levels: usize,
        init: &WeightInit,
    ) -> Result<Rpn, ModelError> {
        check_ious("rpn.negative_iou", self.negative_iou, self.positive_iou)?;
        check_fraction("rpn.positive_fraction", self.positive_fraction)?;
        check_fraction("rpn.nms_threshold", f64::from(self.nms_threshold))?;
        check_positive("rpn.anchors_per_image", self.anchors_per_image)?;
        let ratios = vec![self.aspect_ratios.clone(); self.anchor_sizes.len()];
        let anchors = AnchorGenerator::new(&self.anchor_sizes, &ratios)?;
        let num_anchors = anchors.num_anchors(0);
        let is_even = (1..anchors.num_levels()).all(|l| anchors.num_anchors(l) == num_anchors);
        if anchors.num_levels() != num_levels || !is_even {
            let value = format!("{:?} for {num_levels} levels", self.anchor_sizes);
            let expected = "one list per level of the pyramid, all of one length";
            return Err(ModelError::InvalidValue { name: "rpn.anchor_sizes", value, expected });
        }
        let head = RpnHead::new(channels, num_anchors, self.num_convs, &init.child("head"))?;
        Ok(Rpn { head, anchors, config: self.clone() })
    }
}

/// What the network says of a batch.
#[derive(Debug, Clone)]
pub struct RpnOutput {
    /// `[batch, anchors of all levels, 5]`: objectness logit, four offsets.
    pub predictions: Tensor<3>,
    /// The anchors of each level, the same for every image.
    pub anchors: Vec<Vec<BBox>>,
}

/// Proposes places of objects of any class.
///
/// Source: Ren et al., <https://arxiv.org/abs/1506.01497>, as in torchvision: anchors are matched
/// and chosen on the host; the only numbers read back are objectness and offsets, for
/// [`proposals`](Self::proposals).
#[derive(Module, Debug)]
pub struct Rpn {
    head: RpnHead,
    #[module(skip)]
    anchors: AnchorGenerator,
    #[module(skip)]
    config: RpnConfig,
}

impl Rpn {
    /// What it was made from.
    pub fn config(&self) -> &RpnConfig {
        &self.config
    }

    /// # Shapes
    /// - features: `[batch, channels, height_l, width_l]` of each level
    /// - image_size: `[height, width]` of the padded batch
    pub fn forward(&self, features: &[Tensor<4>], image_size: [usize; 2]) -> RpnOutput {
        let sizes: Vec<[usize; 2]> = features
            .iter()
            .map(|level| {
                let [_, _, height, width] = level.dims();
                [height, width]
            })
            .collect();
        let anchors = self.anchors.anchors(image_size, &sizes);
        RpnOutput { predictions: self.head.forward(features), anchors }
    }

    /// Proposals of each image by falling score. Waits for the device.
    ///
    /// # Errors
    /// If the predictions can't be read back.
    pub fn proposals(
        &self,
        output: &RpnOutput,
        sizes: &[[usize; 2]],
        limits: ProposalLimits,
    ) -> Result<Vec<Vec<BBox>>, ModelError> {
        blocking(self.proposals_by(HostRead::Blocking, output, sizes, limits))
    }

    /// As [`proposals`](Self::proposals), waiting as `how` says.
    pub(crate) async fn proposals_by(
        &self,
        how: HostRead,
        output: &RpnOutput,
        sizes: &[[usize; 2]],
        limits: ProposalLimits,
    ) -> Result<Vec<Vec<BBox>>, ModelError> {
        let [_, num_anchors, _] = output.predictions.dims();
        let predictions = how.read("proposals", output.predictions.clone()).await?;
        let rule = ProposalRule {
            limits,
            nms_threshold: self.config.nms_threshold,
            min_score: self.config.min_score,
        };
        let coder = self.coder();
        let images = predictions.par_chunks_exact((num_anchors * NUM_OUTPUTS).max(1)).zip(sizes);
        Ok(images.map(|(p, &size)| proposals(p, &output.anchors, size, &coder, rule)).collect())
    }

    /// `loss_objectness` and `loss_rpn_box_reg` over a random choice of anchors, both divided by
    /// the number of chosen anchors.
    pub fn losses(
        &self,
        output: &RpnOutput,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> [(&'static str, Tensor<1>); 2] {
        self.counted_losses(output, targets, key).0
    }

    /// As [`losses`](Self::losses), and what they were divided by.
    pub(crate) fn counted_losses(
        &self,
        output: &RpnOutput,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> ([(&'static str, Tensor<1>); 2], usize) {
        let chosen = self.choose(output, targets, key);
        let [batch_size, num_anchors, _] = output.predictions.dims();
        let device = output.predictions.device();
        let num_positives = chosen.targets.len();
        let num_chosen = chosen.rows.len();
        let num_rows = bucket(num_chosen.max(1));
        let mean = 1.0 / num_chosen.max(1) as f32;

        // Positives come first, so one gather serves both losses.
        let mut rows = chosen.rows;
        rows.resize(num_rows, 0);
        let predictions = output.predictions.clone();
        let predictions = predictions.reshape([batch_size * num_anchors, NUM_OUTPUTS]);
        let predictions = predictions.select(0, upload_indices(&rows, &device));

        let is_object = upload(real_rows(num_positives, num_rows), [num_rows, 1], &device);
        let weight = upload(real_rows(num_chosen, num_rows), [num_rows, 1], &device);
        let logits = predictions.clone().narrow(1, 0, 1);
        let objectness = (binary_cross_entropy(logits, is_object) * weight).sum() * mean;

        let num_boxes = bucket(num_positives.max(1)).min(num_rows);
        let mut offsets: Vec<f32> = chosen.targets.into_iter().flatten().collect();
        offsets.resize(num_boxes * 4, 0.0);
        let offsets = upload(offsets, [num_boxes, 4], &device);
        let weight = upload(real_rows(num_positives, num_boxes), [num_boxes, 1], &device);
        let predicted = predictions.narrow(0, 0, num_boxes).narrow(1, 1, 4);
        let box_loss = smooth_l1(predicted, offsets, self.config.smooth_l1_beta);
        let box_loss = (box_loss * weight).sum() * mean;
        let losses = [("loss_objectness", objectness), ("loss_rpn_box_reg", box_loss)];
        (losses, num_chosen.max(1))
    }

    fn choose(&self, output: &RpnOutput, targets: &[Vec<Instance>], key: StepKey) -> Chosen {
        let config = &self.config;
        let anchors = output.anchors.concat();
        let matcher = Matcher {
            high: config.positive_iou,
            low: config.negative_iou,
            allow_low_quality: true,
        };
        let sampler = BalancedSampler {
            num: config.anchors_per_image,
            positive_fraction: config.positive_fraction,
        };
        let coder = self.coder();
        let mut chosen = Chosen::default();
        let mut negatives = Vec::new();
        for (image, instances) in targets.iter().enumerate() {
            let gt_boxes = boxes_of(instances);
            let matches = matcher.match_boxes(&gt_boxes, &anchors);
            let mut rng =
                KeyedRng::new(key.seed, Stream::Anchors, key.step, key.first_image + image as u64);
            let sampled = sampler.sample(&matches, &mut rng);
            let first = image * anchors.len();
            negatives.extend(sampled.negatives.into_iter().map(|index| first + index));
            for index in sampled.positives {
                if let Match::Positive(object) = matches[index] {
                    chosen.rows.push(first + index);
                    chosen.targets.push(coder.encode(anchors[index], gt_boxes[object]));
                }
            }
        }
        chosen.rows.extend(negatives);
        chosen
    }

    fn coder(&self) -> BoxCoder {
        BoxCoder::new([1.0; 4])
    }
}

/// Anchors of a batch in the losses.
#[derive(Default)]
struct Chosen {
    /// Rows of `[batch * anchors]`, positives first.
    rows: Vec<usize>,
    /// Offsets that the positives should have.
    targets: Vec<[f32; 4]>,
}
