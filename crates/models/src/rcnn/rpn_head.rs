//! The layers of the region proposal network.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_kernels::to_single;

use crate::conv::{BiasInit, Conv2d, Conv2dConfig, ConvInit};
use crate::error::ModelError;
use crate::rcnn::conv_block::{ConvBlock, conv_blocks, forward_blocks};
use crate::weight_init::WeightInit;

/// Numbers per anchor: objectness, then four box offsets.
pub(crate) const NUM_OUTPUTS: usize = 5;

/// Says of every anchor whether it is an object, and where the object is.
///
/// Shared by all levels of the pyramid. Parameter names are torchvision's.
#[derive(Module, Debug)]
pub struct RpnHead {
    conv: Vec<ConvBlock>,
    cls_logits: Conv2d,
    bbox_pred: Conv2d,
}

impl RpnHead {
    /// `num_convs` 3x3 convolutions and two 1x1 ones; weights normal with deviation 0.01, biases 0.
    pub(crate) fn new(
        channels: usize,
        num_anchors: usize,
        num_convs: usize,
        init: &WeightInit,
    ) -> Result<Self, ModelError> {
        let conv_init = ConvInit::Normal(0.01);
        let layer = |name: &str, out_channels: usize| {
            let config = Conv2dConfig::new(channels, out_channels, 1).with_bias(true);
            let config = config.with_init(conv_init).with_bias_init(BiasInit::Constant(0.0));
            config.init(&init.child(name))
        };
        Ok(Self {
            conv: conv_blocks(num_convs, [channels; 2], None, conv_init, &init.child("conv"))?,
            cls_logits: layer("cls_logits", num_anchors),
            bbox_pred: layer("bbox_pred", num_anchors * 4),
        })
    }

    /// Predictions of all levels, one after the other, in the order of the anchors: by row, by
    /// column, by anchor.
    ///
    /// # Shapes
    /// - features: `[batch, channels, height_l, width_l]` of each level
    /// - output: `[batch, sum_l height_l width_l num_anchors, 5]`: objectness logit, four offsets
    pub fn forward(&self, features: &[Tensor<4>]) -> Tensor<3> {
        let levels = features.iter().map(|features| {
            let x = forward_blocks(&self.conv, features.clone());
            let logits = self.cls_logits.forward(x.clone());
            let offsets = self.bbox_pred.forward(x);
            let [batch_size, num_anchors, height, width] = logits.dims();
            let logits = logits.reshape([batch_size, num_anchors, 1, height, width]);
            let offsets = offsets.reshape([batch_size, num_anchors, 4, height, width]);
            let both = to_single(Tensor::cat(vec![logits, offsets], 2)).permute([0, 3, 4, 1, 2]);
            both.reshape([batch_size, height * width * num_anchors, NUM_OUTPUTS])
        });
        Tensor::cat(levels.collect(), 1)
    }
}
