//! The two towers of RetinaNet.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_kernels::to_single;
use longtail_losses::ClassificationLoss;
use serde::{Deserialize, Serialize};

use crate::conv::{BiasInit, Conv2d, Conv2dConfig, ConvInit};
use crate::error::ModelError;
use crate::norm::NormConfig;
use crate::rcnn::check::check_positive;
use crate::rcnn::conv_block::{ConvBlock, conv_blocks, fold_blocks, forward_blocks};
use crate::weight_init::WeightInit;

/// Configuration of [`RetinaNetHead`]. Defaults: torchvision's `retinanet_resnet50_fpn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetinaNetHeadConfig {
    /// 3x3 convolutions of each tower. Default: 4.
    pub num_convs: usize,
    /// What follows each of them. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormConfig>,
}

impl Default for RetinaNetHeadConfig {
    fn default() -> Self {
        Self { num_convs: 4, norm: None }
    }
}

impl RetinaNetHeadConfig {
    /// Makes the head for a pyramid of `channels`. Weights normal with deviation 0.01, biases 0, and
    /// the loss's prior bias in the columns of the classes.
    ///
    /// # Errors
    /// If there is no convolution, or the norm does not fit the channels.
    pub fn init(
        &self,
        channels: usize,
        num_anchors: usize,
        loss: &ClassificationLoss,
        init: &WeightInit,
    ) -> Result<RetinaNetHead, ModelError> {
        check_positive("head.num_convs", self.num_convs)?;
        let conv_init = ConvInit::Normal(0.01);
        let tower = |init: &WeightInit| {
            let norm = self.norm.as_ref();
            conv_blocks(self.num_convs, [channels; 2], norm, conv_init, &init.child("conv"))
        };
        let last = |num_columns: usize| {
            let config = Conv2dConfig::new(channels, num_anchors * num_columns, 3).with_padding(1);
            let config = config.with_init(conv_init).with_bias(true);
            config.with_bias_init(BiasInit::Constant(0.0))
        };
        let num_logits = loss.num_logits();
        let classification = init.child("classification_head");
        let mut cls_logits = last(num_logits).init(&classification.child("cls_logits"));
        if let Some(prior) = loss.prior_bias() {
            let mut row = vec![0.0; num_logits];
            row[..loss.num_classes()].fill(prior);
            let bias = row.repeat(num_anchors);
            cls_logits.bias = Some(classification.param_from([bias.len()], bias));
        }
        let regression = init.child("regression_head");
        Ok(RetinaNetHead {
            classification_head: ClassificationTower { conv: tower(&classification)?, cls_logits },
            regression_head: RegressionTower {
                conv: tower(&regression)?,
                bbox_reg: last(4).init(&regression.child("bbox_reg")),
            },
        })
    }
}

/// Class logits and box offsets of every anchor.
///
/// Shared by all levels of the pyramid. Parameter names are torchvision's.
#[derive(Module, Debug)]
pub struct RetinaNetHead {
    /// Features to class logits.
    pub classification_head: ClassificationTower,
    /// Features to box offsets.
    pub regression_head: RegressionTower,
}

/// Convolutions to class logits.
#[derive(Module, Debug)]
pub struct ClassificationTower {
    conv: Vec<ConvBlock>,
    /// The classifier: `[num_anchors * num_logits]` channels, anchor by anchor.
    pub cls_logits: Conv2d,
}

/// Convolutions to box offsets.
#[derive(Module, Debug)]
pub struct RegressionTower {
    conv: Vec<ConvBlock>,
    bbox_reg: Conv2d,
}

/// What the head says of a batch; anchors of all levels, by level, row, column, anchor.
#[derive(Debug, Clone)]
pub struct RetinaNetOutput {
    /// `[batch, num_anchors, num_logits]`
    pub logits: Tensor<3>,
    /// `[batch, num_anchors, 4]`
    pub offsets: Tensor<3>,
}

impl RetinaNetHead {
    /// With fixed norms folded into the convolutions.
    pub(crate) fn fold(&mut self) {
        fold_blocks(&mut self.classification_head.conv);
        fold_blocks(&mut self.regression_head.conv);
    }

    /// # Shapes
    /// - features: `[batch, channels, height_l, width_l]` of each level
    pub fn forward(&self, features: &[Tensor<4>], num_logits: usize) -> RetinaNetOutput {
        let (mut logits, mut offsets) = (Vec::new(), Vec::new());
        for level in features {
            let ClassificationTower { conv, cls_logits } = &self.classification_head;
            let x = cls_logits.forward(forward_blocks(conv, level.clone()));
            logits.push(rows(x, num_logits));
            let RegressionTower { conv, bbox_reg } = &self.regression_head;
            offsets.push(rows(bbox_reg.forward(forward_blocks(conv, level.clone())), 4));
        }
        RetinaNetOutput { logits: Tensor::cat(logits, 1), offsets: Tensor::cat(offsets, 1) }
    }
}

/// `[batch, anchors * columns, height, width]` to `[batch, height * width * anchors, columns]`.
fn rows(x: Tensor<4>, num_columns: usize) -> Tensor<3> {
    let [batch_size, channels, height, width] = x.dims();
    let num_anchors = channels / num_columns.max(1);
    let x = to_single(x).reshape([batch_size, num_anchors, num_columns, height, width]);
    let x = x.permute([0, 3, 4, 1, 2]);
    x.reshape([batch_size, height * width * num_anchors, num_columns])
}
